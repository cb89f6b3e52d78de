//! Pages, and sequences of pages, as ranges and prefixes use them.

use std::{collections::HashSet, mem};

use crate::{
    error::{Cause, Error},
    model::entry::Object,
    remote::entry::ListedEntry,
    s3::ListFrom,
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
    /// The token of the next page.
    pub next: Option<String>,
}

/// Successive pages, as far as they were received.
pub(super) struct Pages {
    /// The entries of each page that has any.
    pub received: Vec<Vec<ListedEntry>>,
    next: NextPage,
    /// The tokens of all pages so far.
    tokens: HashSet<String>,
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
        Pages { received: Vec::new(), next: NextPage::Ready(from), tokens: HashSet::new() }
    }

    /// All pages of a finished listing.
    pub(super) fn complete(received: Vec<Vec<ListedEntry>>) -> Pages {
        Pages { received, next: NextPage::Done, tokens: HashSet::new() }
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

    /// Adds the page that was requested, and the token of the page after it.
    pub(super) fn add(&mut self, mut entries: Vec<ListedEntry>, next: Option<String>) {
        // A store that ignores tokens sends the first page again, and may send a new token each
        // time.
        let first = self.received.iter().find_map(|page| first_object(page));
        let restarts = match (first, first_object(&entries)) {
            (Some(first), Some(now)) => first.path == now.path,
            _ => false,
        };
        self.next = match next {
            _ if restarts => NextPage::Repeated,
            None => NextPage::Done,
            Some(token) if !self.tokens.insert(token.clone()) => NextPage::Repeated,
            Some(token) => NextPage::Ready(ListFrom::Token(token)),
        };
        if !entries.is_empty() {
            entries.shrink_to_fit();
            self.received.push(entries);
        }
    }
}

fn first_object(page: &[ListedEntry]) -> Option<&Object> {
    page.iter().find_map(ListedEntry::object)
}

/// Whether an error of one range or prefix concerns the listing as a whole, however it is divided.
pub(super) fn concerns_whole_listing(error: &Error) -> bool {
    matches!(error.cause(), Cause::Interrupted | Cause::Credentials(_))
}
