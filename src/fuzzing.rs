//! Entry points for the fuzz targets: the parsers of responses, keys, ETags and bucket URLs. No input may
//! cause a panic.

use std::path::{Component, Path};

use crate::{
    model::{bucket_url::BucketUrl, etag::ETag, paths},
    s3,
};

/// Parses a page of a listing.
pub fn listing(bytes: &[u8]) {
    if let Ok(xml) = std::str::from_utf8(bytes) {
        s3::parse_listing(xml);
    }
}

/// Parses every other response of a server: errors, uploads, parts, deletions, completions.
pub fn responses(bytes: &[u8]) {
    if let Ok(xml) = std::str::from_utf8(bytes) {
        s3::parse_responses(xml);
    }
}

/// Converts keys to paths, and parses ETags and bucket URLs.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<BucketUrl>();
    let etag = ETag::parse(text);
    assert_eq!(ETag::parse(&etag.to_string()), etag);
    if paths::check(text, 0).is_ok() {
        // A valid path stays below the root, and converts back to the same key.
        let path = Path::new(text);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        assert_eq!(path.iter().collect::<std::path::PathBuf>().to_str(), Some(text));
    }
    let middle = (text.len() / 2..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (a, b) = text.split_at(middle);
    assert_eq!(paths::tree_order(a, b), paths::tree_order(b, a).reverse());
    assert_eq!(paths::is_under(text, a), b.starts_with('/'));
}
