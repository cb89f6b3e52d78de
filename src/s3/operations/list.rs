//! Listing objects.
//!
//! Some stores refuse ListObjectsV2, or ignore that a request is one. They are listed with ListObjects,
//! the first version, in which a page starts after a key (the marker).

use crate::{
    error::{Cause, Result},
    s3::{
        bucket_in_endpoint,
        client::Client,
        quirks::KeyEncoding,
        request::S3Request,
        responses::{
            error::check_success,
            listing::{ListPage, NextPage, RawPage},
        },
    },
};

/// Where a page of a listing starts.
#[derive(Debug)]
pub(crate) enum ListFrom {
    /// At the first key.
    Beginning,
    /// After the key of this path.
    After(String),
    /// Where another page ended.
    Next(NextPage),
    /// At the first key. Keys with a `/` after the prefix are folded into common prefixes.
    OneLevel,
    /// Where another page of one level ended.
    NextOfLevel(NextPage),
}

impl ListFrom {
    /// Whether the page starts at the first key.
    fn is_first(&self) -> bool {
        matches!(self, ListFrom::Beginning | ListFrom::OneLevel)
    }

    fn is_one_level(&self) -> bool {
        matches!(self, ListFrom::OneLevel | ListFrom::NextOfLevel(_))
    }

    /// Where another page ended.
    fn next(&self) -> Option<&NextPage> {
        match self {
            ListFrom::Next(next) | ListFrom::NextOfLevel(next) => Some(next),
            _ => None,
        }
    }
}

/// The versions of the operation.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

impl Client {
    /// Lists one page of the objects under `prefix`.
    pub(crate) fn list_page(&self, prefix: &str, from: &ListFrom) -> Result<ListPage> {
        let page = self.retry("list", format!("s3://{}/{prefix}", self.bucket), || {
            let (page, version) = self.list_version(prefix, from)?;
            let encoding = self.encoding_of(&page, prefix, from, version);
            page.decode(encoding, matches!(from.next(), Some(NextPage::LastKey { .. })))
        });
        page.map_err(|error| {
            let advice = bucket_in_endpoint::advice(&self.access, &self.bucket, error.cause());
            error.with_advice(advice)
        })
    }

    /// Requests a page with the version that the store supports.
    fn list_version(&self, prefix: &str, from: &ListFrom) -> Result<(RawPage, Version), Cause> {
        let list = |version| self.list_once(prefix, from, version, true);
        if self.quirks.lists_version_1.is_set() {
            return list(Version::One).map(|page| (page, Version::One));
        }
        match list(Version::Two) {
            // Only the first request shows it: another one may be refused because of where it starts.
            Err(cause)
                if from.is_first()
                    && !self.quirks.lists_version_2.is_set()
                    && is_refused(&cause) =>
            {
                let Ok(page) = list(Version::One) else { return Err(cause) };
                self.quirks.lists_version_1.set();
                Ok((page, Version::One))
            }
            Ok(page) if page.is_version_1() => {
                self.quirks.lists_version_1.set();
                match from.next() {
                    None if from.is_first() => Ok((page, Version::One)),
                    // The store ignored where the page starts.
                    None | Some(NextPage::LastKey { .. }) => {
                        list(Version::One).map(|page| (page, Version::One))
                    }
                    Some(_) => Err(Cause::Malformed(
                        "listing: a page of ListObjects follows one of ListObjectsV2".to_owned(),
                    )),
                }
            }
            Ok(page) => {
                self.quirks.lists_version_2.set();
                Ok((page, Version::Two))
            }
            Err(cause) => Err(cause),
        }
    }

    fn list_once(
        &self,
        prefix: &str,
        from: &ListFrom,
        version: Version,
        is_encoded: bool,
    ) -> Result<RawPage, Cause> {
        let after = match (from, from.next()) {
            (ListFrom::After(path), _) => Some(format!("{prefix}{path}")),
            (_, Some(NextPage::Marker(key) | NextPage::LastKey { key, .. })) => Some(key.clone()),
            _ => None,
        };
        let mut query = Vec::new();
        if let Some(NextPage::Token(token)) = from.next() {
            query.push(("continuation-token", &**token));
        }
        if from.is_one_level() {
            query.push(("delimiter", "/"));
        }
        if is_encoded {
            query.push(("encoding-type", "url"));
        }
        match version {
            Version::Two => {
                query.extend([("list-type", "2"), ("prefix", prefix)]);
                query.extend(after.iter().map(|after| ("start-after", after.as_str())));
            }
            Version::One => {
                query.extend(after.iter().map(|after| ("marker", after.as_str())));
                query.push(("prefix", prefix));
            }
        }
        let mut request = S3Request::new("GET", None).query(&query);
        let xml = self.send_for_restore_status(&mut request)?.xml()?;
        // Some servers send an error with the status 200.
        RawPage::parse(&xml).map_err(|cause| check_success(&xml).err().unwrap_or(cause))
    }

    /// How the keys of a page are encoded.
    ///
    /// Some stores encode them without saying so, or the reverse. Where the keys leave it open, the
    /// same page is requested again without encoding. Once a comparison leaves only one encoding, all
    /// later pages have it as well.
    fn encoding_of(
        &self,
        page: &RawPage,
        prefix: &str,
        from: &ListFrom,
        version: Version,
    ) -> KeyEncoding {
        if let Some(known) = self.quirks.key_encoding() {
            return known;
        }
        if !page.may_misstate_encoding() {
            return page.stated_encoding();
        }
        let plain = self.list_once(prefix, from, version, false);
        let possible = plain.map(|plain| page.encodings_by(&plain)).unwrap_or_default();
        if let [only] = possible[..] {
            self.quirks.set_key_encoding(only);
        }
        possible.first().copied().unwrap_or_else(|| page.stated_encoding())
    }
}

/// Whether the store may not support the version of the request.
fn is_refused(cause: &Cause) -> bool {
    matches!(cause, Cause::S3 { status: 400 | 405 | 501, .. })
        && !cause.is_retryable()
        && !cause.is_fatal()
}
