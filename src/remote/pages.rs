//! Pages, and sequences of pages, as ranges and prefixes use them.

use std::{collections::HashSet, mem};

use crate::{
    error::{Cause, Error},
    model::entry::Object,
    remote::entry::ListedEntry,
    s3::{ListFrom, NextPage as Next},
};

/// The most requests of a listing in flight. More would gain nothing: parsing pages keeps a
/// processor busy long before the network is at its limit.
pub(super) const MAX_IN_FLIGHT: usize = 32;

/// The request for one page.
pub(super) struct PageRequest {
    /// The range or prefix that the page is for.
    pub id: usize,
    /// The prefix to list, below that of the run: empty, or ending in `/`.
    pub dir: String,
    pub from: ListFrom,
}

/// One page of a listing.
pub(super) struct Page {
    pub entries: Vec<ListedEntry>,
    /// The common prefixes, without the prefix of the run. `None` if one of them is not UTF-8 or
    /// does not start with that prefix.
    pub dirs: Option<Vec<String>>,
    /// Where the next page starts.
    pub next: Option<Next>,
}

/// Successive pages, as far as they were received.
pub(super) struct Pages {
    /// The entries of each page that has any.
    pub received: Vec<Vec<ListedEntry>>,
    next: NextPage,
    /// Where all pages so far started.
    starts: HashSet<Next>,
    /// The path of the first object of each page.
    first_paths: HashSet<Box<str>>,
}

enum NextPage {
    Ready(ListFrom),
    InFlight,
    /// The store repeats a page, so there is no end.
    Repeated,
    /// All pages were received.
    Done,
}

impl Pages {
    /// The pages that start at `from`. None was received yet.
    pub(super) fn new(from: ListFrom) -> Pages {
        Pages {
            received: Vec::new(),
            next: NextPage::Ready(from),
            starts: HashSet::new(),
            first_paths: HashSet::new(),
        }
    }

    /// All pages of a finished listing.
    pub(super) fn complete(received: Vec<Vec<ListedEntry>>) -> Pages {
        Pages {
            received,
            next: NextPage::Done,
            starts: HashSet::new(),
            first_paths: HashSet::new(),
        }
    }

    pub(super) fn are_complete(&self) -> bool {
        matches!(self.next, NextPage::Done)
    }

    /// Whether the next page can be requested now.
    pub(super) fn are_ready(&self) -> bool {
        matches!(self.next, NextPage::Ready(_))
    }

    pub(super) fn are_repeated(&self) -> bool {
        matches!(self.next, NextPage::Repeated)
    }

    /// Where the next page starts, for the caller to request it. `None` if it cannot be requested
    /// now.
    pub(super) fn take_next(&mut self) -> Option<ListFrom> {
        match mem::replace(&mut self.next, NextPage::InFlight) {
            NextPage::Ready(from) => Some(from),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// Adds the page that was requested, and where the page after it starts.
    pub(super) fn add(&mut self, mut entries: Vec<ListedEntry>, next: Option<Next>) {
        if self.is_same_short_page(&entries) {
            self.next = NextPage::Done;
            return;
        }
        // A store that ignores tokens sends the first page again, and may send a new token each
        // time. One that starts a page at the last key, not after it, may end with that key alone.
        let first = objects(&entries).next().map(|object| &*object.path);
        let is_known = first.is_some_and(|first| self.first_paths.contains(first));
        let is_repeated = is_known && (next.is_some() || !self.ends_with(&entries));
        self.first_paths.extend(first.map(Box::from));
        self.next = match next {
            _ if is_repeated => NextPage::Repeated,
            None => NextPage::Done,
            Some(start) if !self.starts.insert(start.clone()) => NextPage::Repeated,
            Some(start) => NextPage::Ready(ListFrom::Next(start)),
        };
        if !entries.is_empty() {
            entries.shrink_to_fit();
            self.received.push(entries);
        }
    }

    /// Whether the store sends its only page again. The page does not say that it is the last one, but
    /// is not full either, so there is no other.
    fn is_same_short_page(&self, entries: &[ListedEntry]) -> bool {
        let short = |start: &Next| matches!(start, Next::LastKey { is_full: false, .. });
        match &self.received[..] {
            [only] => {
                self.starts.len() == 1
                    && self.starts.iter().all(short)
                    && only.len() == entries.len()
                    && objects(only).eq(objects(entries))
            }
            _ => false,
        }
    }

    /// Whether the only object of a page is the last one of the page before.
    fn ends_with(&self, entries: &[ListedEntry]) -> bool {
        let last = self.received.last().and_then(|page| objects(page).last());
        entries.len() == 1 && last.is_some() && last == objects(entries).next()
    }
}

fn objects(page: &[ListedEntry]) -> impl Iterator<Item = &Object> {
    page.iter().filter_map(ListedEntry::object)
}

/// Whether an error of one range or prefix concerns the listing as a whole, however it is divided.
pub(super) fn concerns_whole_listing(error: &Error) -> bool {
    matches!(error.cause(), Cause::Interrupted | Cause::Credentials(_))
}
