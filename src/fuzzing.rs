//! What the fuzz targets call: everything that reads bytes that s3keep did not write. Each must hold for
//! any input; none may panic.

use std::path::{Component, Path};

use crate::{
    entry::ETag,
    names::{self, BucketUrl},
    s3,
};

/// A page of a listing.
pub fn listing(bytes: &[u8]) {
    if let Ok(xml) = std::str::from_utf8(bytes) {
        s3::parse_listing(xml);
    }
}

/// Every other answer of a server: errors, uploads, parts, deletions, completions.
pub fn answers(bytes: &[u8]) {
    if let Ok(xml) = std::str::from_utf8(bytes) {
        s3::parse_answers(xml);
    }
}

/// Keys to paths, ETags, URLs.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<BucketUrl>();
    let etag = ETag::parse(text);
    assert_eq!(ETag::parse(&etag.to_string()), etag);
    if names::unfit(text, 0).is_none() {
        // What may be a file stays below the root, and comes back as the same key.
        let path = Path::new(text);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        assert_eq!(path.iter().collect::<std::path::PathBuf>().to_str(), Some(text));
    }
    let middle = (text.len() / 2..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (a, b) = text.split_at(middle);
    assert_eq!(names::tree_order(a, b), names::tree_order(b, a).reverse());
    assert_eq!(names::is_under(text, a), b.starts_with('/'));
}
