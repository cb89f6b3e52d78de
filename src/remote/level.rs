//! Listing one level: the objects and directories directly below a prefix.

use std::collections::HashSet;

use crate::{
    error::Result,
    model::bucket_url::BucketUrl,
    remote::{
        entry::ListedEntry,
        listing::{entries_below, malformed},
        pages::Pages,
    },
    s3::{Client, ListFrom},
};

/// One level of the bucket.
#[derive(Default)]
pub(super) struct Level {
    pub entries: Vec<ListedEntry>,
    /// The paths of the directories, each with a `/` at its end. Bytes that are not UTF-8 are replaced by
    /// U+FFFD.
    pub dirs: Vec<String>,
}

impl Level {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dirs.is_empty()
    }
}

/// Lists the entries of `bucket` whose names start with `start`, with one request per 1,000 of them. Stops
/// after `max_pages`.
pub(super) fn list_level(
    client: &Client,
    bucket: &BucketUrl,
    start: &str,
    max_pages: usize,
) -> Result<Level> {
    client.start_phase(1);
    let prefix = bucket.prefix();
    let mut level = Level::default();
    let mut first_dirs = HashSet::new();
    let mut pages = Pages::new(ListFrom::OneLevel);
    for _ in 0..max_pages {
        let from = match pages.take_next() {
            None => break,
            Some(ListFrom::Next(next)) => ListFrom::NextOfLevel(next),
            Some(first) => first,
        };
        let page = client.list_page(&format!("{prefix}{start}"), &from)?;
        let entries = entries_below(page.objects, bucket, start)?;
        // Pages detect a store that ignores tokens by the objects that it repeats.
        if let Some(first) = page.prefixes.first()
            && !first_dirs.insert(first.clone())
        {
            return Err(malformed(bucket, "the listing repeats a page"));
        }
        for dir in page.prefixes {
            let dir = dir.unwrap_or_else(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let dir = dir.strip_prefix(prefix);
            let without =
                || malformed(bucket, "the listing contains a directory without the prefix");
            level.dirs.push(dir.ok_or_else(without)?.to_owned());
        }
        pages.add(entries, page.next);
    }
    if pages.are_repeated() {
        return Err(malformed(bucket, "the listing repeats a page"));
    }
    level.entries = pages.received.into_iter().flatten().collect();
    Ok(level)
}
