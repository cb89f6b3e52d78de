//! A store in memory, as far as a listing sees it, with the flaws that real stores may have.

use std::{
    cmp::Ordering,
    sync::atomic::{self, AtomicUsize},
};

use crate::{
    error::{Cause, Error, Result},
    model::{etag::ETag, time::Timestamp},
    remote::{
        entry::ListedEntry,
        pages::{Page, PageRequest},
    },
    s3::{ListFrom, Listed, NextPage},
};

pub(super) struct SimulatedStore {
    /// In the order in which the store lists them.
    pub keys: Vec<String>,
    pub page_size: usize,
    /// The order in which the store compares keys with the path to start after.
    pub order: fn(&str, &str) -> Ordering,
    /// Each page is in byte order, whatever the order of `keys` is.
    pub sorts_pages: bool,
    pub flaw: Flaw,
    requests: AtomicUsize,
    level_requests: AtomicUsize,
}

/// A wrong treatment of prefixes and delimiters. A level is the response to a request with a
/// delimiter, and dirs are its common prefixes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flaw {
    None,
    IgnoresDelimiter,
    RefusesDelimiter,
    TruncatesLevels,
    AddsDeeperKeysToLevels,
    ListsMarkersTwice,
    OmitsMarkers,
    RepeatsDirs,
    OmitsDirs,
    OmitsObjects,
    /// Adds a dir under which there is no key.
    InventsDirs,
    /// Lists nothing under prefixes that contain an `a`, as if they were others.
    MisreadsPrefixes,
    RefusesPrefixes,
}

/// The most entries of a level.
const LEVEL_SIZE: usize = 1_000;

impl SimulatedStore {
    /// A store without flaws that compares in byte order.
    pub(super) fn new(keys: Vec<String>, page_size: usize) -> SimulatedStore {
        SimulatedStore {
            keys,
            page_size,
            order: |a, b| a.cmp(b),
            sorts_pages: false,
            flaw: Flaw::None,
            requests: AtomicUsize::new(0),
            level_requests: AtomicUsize::new(0),
        }
    }

    /// The number of requests so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(atomic::Ordering::Relaxed)
    }

    /// The number of requests with a delimiter so far.
    pub(super) fn level_requests(&self) -> usize {
        self.level_requests.load(atomic::Ordering::Relaxed)
    }

    pub(super) fn page(&self, request: &PageRequest) -> Result<Page> {
        let PageRequest { dir, from, .. } = request;
        let is_level = matches!(from, ListFrom::OneLevel);
        self.requests.fetch_add(1, atomic::Ordering::Relaxed);
        self.level_requests.fetch_add(usize::from(is_level), atomic::Ordering::Relaxed);
        let refused = || Error::new("list", "", Cause::Malformed("refused".to_owned()));
        match self.flaw {
            Flaw::RefusesDelimiter if is_level => return Err(refused()),
            Flaw::RefusesPrefixes if !is_level && !dir.is_empty() => return Err(refused()),
            _ => {}
        }
        let is_misread = self.flaw == Flaw::MisreadsPrefixes && dir.contains('a') && !is_level;
        let keys = self.keys.iter().filter(|key| key.starts_with(dir) && !is_misread);
        let keys = keys.map(String::as_str);
        let mut names: Vec<&str> = match from {
            ListFrom::Next(NextPage::Token(last)) => {
                keys.skip_while(|key| key != last).skip(1).collect()
            }
            ListFrom::After(path) => keys.filter(|key| (self.order)(key, path).is_gt()).collect(),
            ListFrom::OneLevel if self.flaw != Flaw::IgnoresDelimiter => {
                let mut names = Vec::new();
                for key in keys {
                    let slash = key[dir.len()..].find('/');
                    let name = slash.map_or(key, |at| &key[..dir.len() + at + 1]);
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                names
            }
            ListFrom::OneLevel
            | ListFrom::NextOfLevel(_)
            | ListFrom::Beginning
            | ListFrom::Next(_) => keys.collect(),
        };
        let size = if is_level { LEVEL_SIZE } else { self.page_size };
        let mut next = (names.len() > size).then(|| names[size - 1].to_owned());
        names.truncate(size);
        if self.sorts_pages {
            names.sort();
        }
        let mut dirs = Vec::new();
        if is_level && self.flaw != Flaw::IgnoresDelimiter {
            let is_dir = |name: &&str| name[dir.len()..].contains('/');
            dirs = names.iter().filter(|name| is_dir(name)).map(ToString::to_string).collect();
            let is_marker =
                |name: &str| self.keys.iter().any(|key| key == name) && size_of(name) == 0;
            let keeps_markers = self.flaw == Flaw::ListsMarkersTwice;
            names.retain(|name| !is_dir(name) || keeps_markers && is_marker(name));
            match self.flaw {
                Flaw::TruncatesLevels => {
                    next = dirs.pop().or_else(|| Some(names.pop()?.to_owned()));
                }
                Flaw::AddsDeeperKeysToLevels => {
                    let is_deeper = |key: &&String| {
                        key.strip_prefix(dir.as_str()).is_some_and(|rest| rest.contains('/'))
                    };
                    names.extend(self.keys.iter().filter(is_deeper).map(String::as_str));
                }
                Flaw::OmitsMarkers => names.retain(|name| !is_marker(name)),
                Flaw::RepeatsDirs => dirs.extend(dirs.first().cloned()),
                Flaw::OmitsDirs => drop(dirs.drain(..dirs.len().min(1))),
                Flaw::OmitsObjects => names.clear(),
                Flaw::InventsDirs => dirs.push(format!("{dir}none/")),
                _ => {}
            }
        }
        let entries = names.into_iter().filter_map(|name| {
            let (key, modified) = (Ok(name.to_owned()), Timestamp::from_secs(0));
            ListedEntry::new(
                Listed { key, size: size_of(name), modified, etag: ETag::None, archived: None },
                "",
            )
        });
        let next = next.map(NextPage::Token);
        Ok(Page { entries: entries.collect(), dirs: Some(dirs), next })
    }
}

/// The size of an object. Most keys that end in `/` are markers, and have none.
pub(super) fn size_of(key: &str) -> u64 {
    u64::from(!key.ends_with('/') || key.len().is_multiple_of(5))
}

/// Keys in directories of a hundred files each, in directories of ten thousand.
pub(super) fn numbered_keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("dir-{:02}/{:03}/file-{n:06}", n / 10_000, n / 100)).collect()
}
