//! The version of an object that a download is for.
//!
//! | the response | is for the listed version |
//! | --- | --- |
//! | has the listed ETag, apart from case and the suffix of a proxy | yes |
//! | has another ETag, and the listed LastModified | yes: the store has several ETags for the same bytes |
//! | has another ETag, and another LastModified or none | no |
//! | has no ETag, or none was listed, and has another LastModified | no |
//! | has no ETag, or none was listed, otherwise | yes |
//!
//! The size must be the listed one in all cases. LastModified has whole seconds. So an object that is
//! replaced by another one of the same size, within the second in which it was stored, is not recognized by
//! its time. The responses of one download are held together by the ETag of the first one.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    error::Cause,
    model::{entry::Object, etag::ETag, time::Timestamp},
    s3::operations::head::Head,
};

/// The version of an object that a download is for.
#[derive(Debug)]
pub(crate) struct Version {
    /// The size of the whole object.
    pub size: u64,
    etag: ETag,
    modified: Option<Timestamp>,
    /// What the first response said.
    first: Mutex<Option<First>>,
    /// Whether requests accept encoded content.
    accepts_encodings: AtomicBool,
    /// Whether requests of both kinds have been tried.
    has_tried_both: AtomicBool,
}

/// The version, as the first response names it.
#[derive(Clone, Debug)]
struct First {
    etag: ETag,
    is_weak: bool,
    modified: Option<Timestamp>,
}

impl First {
    fn of(head: &Head) -> First {
        First { etag: head.etag.clone(), is_weak: head.is_weak, modified: head.modified }
    }
}

impl Version {
    /// The version in a listing.
    pub(crate) fn listed(object: &Object) -> Version {
        Version::new(object.size, object.etag.clone(), Some(object.modified))
    }

    /// The version that a HEAD described, if it has `size` bytes.
    pub(crate) fn of_head(size: u64, head: &Head) -> Version {
        let etag = if head.is_weak { ETag::None } else { head.etag.clone() };
        Version::new(size, etag, head.modified)
    }

    fn new(size: u64, etag: ETag, modified: Option<Timestamp>) -> Version {
        Version {
            size,
            etag,
            modified,
            first: Mutex::default(),
            accepts_encodings: AtomicBool::default(),
            has_tried_both: AtomicBool::default(),
        }
    }

    /// Whether the headers of a HEAD describe this version.
    pub(crate) fn is_described_by(&self, head: &Head) -> bool {
        // A proxy that decodes an object may state another size.
        let is_size = head.size.is_none_or(|size| size == self.size);
        self.is_named_by(head) && (is_size || self.etag.is_same(&head.etag))
    }

    /// Whether a response has the listed ETag.
    pub(crate) fn has_listed_etag(&self, head: &Head) -> bool {
        self.etag.is_same(&head.etag)
    }

    /// Whether the responses had the listed ETag. Otherwise, size and time alone say that they were for the
    /// listed version.
    pub(crate) fn is_confirmed_by_etag(&self) -> bool {
        self.first().is_some_and(|first| self.etag.is_same(&first.etag))
    }

    /// Whether a later response can be compared with the first one.
    pub(super) fn has_etag(&self) -> bool {
        self.first().is_some_and(|first| first.etag != ETag::None)
    }

    /// Whether a response of another size may be for this version, but was decoded or encoded on its way.
    pub(crate) fn may_be_recoded(&self, head: &Head) -> bool {
        let has_its_time = self.modified.is_some() && self.modified == head.modified;
        self.etag.is_same(&head.etag) || has_its_time
    }

    /// The ETag for `If-Match`, and whether it is that of the listing.
    pub(super) fn condition(&self) -> Option<(String, bool)> {
        let listed = self.etag.quoted().map(|etag| (etag, true));
        match self.first() {
            None => listed,
            Some(first) if first.etag == self.etag => listed,
            // The store does not know the suffix that a proxy appends.
            Some(first) if self.etag.has_other_suffix(&first.etag) => listed,
            Some(first) if first.is_weak => None,
            Some(first) => first.etag.quoted().map(|etag| (etag, false)),
        }
    }

    /// Checks that a response is for this version, and for the same one as those before it.
    ///
    /// `is_conditional`: the request had an `If-Match`.
    pub(super) fn check(&self, head: &Head, is_conditional: bool) -> Result<(), Cause> {
        if head.size.is_some_and(|size| size != self.size) {
            return Err(Cause::OBJECT_REPLACED);
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = match &*first {
            Some(first) if first.etag != ETag::None && head.etag != ETag::None => {
                first.etag.is_same(&head.etag)
            }
            // Only the condition can have compared the ETags.
            Some(first) if first.etag != ETag::None => {
                let is_other_time = first.modified.is_some() && first.modified != head.modified;
                is_conditional && (head.modified.is_none() || !is_other_time)
            }
            // What came with a response without an ETag is not kept.
            _ => self.is_named_by(head),
        };
        if !is_same {
            return Err(Cause::OBJECT_REPLACED);
        }
        first.get_or_insert_with(|| First::of(head));
        Ok(())
    }

    /// Forgets the responses so far: the download starts again.
    pub(super) fn restart(&self) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether requests accept encoded content.
    pub(super) fn accepts_encodings(&self) -> bool {
        self.accepts_encodings.load(Ordering::Relaxed)
    }

    /// Lets later requests accept encoded content, if none has done so yet. Returns whether they do.
    pub(crate) fn accept_encodings(&self) -> bool {
        let is_new = !self.has_tried_both.swap(true, Ordering::Relaxed);
        if is_new {
            self.accepts_encodings.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// Lets later requests accept no encoded content. Returns whether they did before.
    pub(super) fn refuse_encodings(&self) -> bool {
        self.accepts_encodings.swap(false, Ordering::Relaxed)
    }

    fn is_named_by(&self, head: &Head) -> bool {
        if self.etag.is_same(&head.etag) {
            return true;
        }
        match (self.modified, head.modified) {
            (Some(listed), Some(found)) => listed == found,
            _ => self.etag == ETag::None || head.etag == ETag::None,
        }
    }

    fn first(&self) -> Option<First> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(etag: &str, modified: Option<i64>) -> Head {
        Head {
            size: Some(7),
            etag: ETag::parse_weak(etag),
            is_weak: etag.starts_with("W/"),
            modified: modified.map(Timestamp::from_secs),
            opaque_etag: false,
            checksum: None,
            has_bad_checksum: false,
            is_decoded: false,
            encoding: String::new(),
        }
    }

    #[test]
    fn version_is_identified_as_the_table_says() {
        for (listed, found, modified, is_same) in [
            ("a", "a", Some(5), true),
            ("a", "a", Some(6), true),
            ("a", "a-gzip", None, true),
            ("a", "W/\"a\"", None, true),
            ("a", "b", Some(5), true),
            ("a", "b", Some(6), false),
            ("a", "b", None, false),
            ("a", "", Some(5), true),
            ("a", "", Some(6), false),
            ("a", "", None, true),
            ("", "b", Some(5), true),
            ("", "b", Some(6), false),
            ("", "", None, true),
        ] {
            let version = Version::new(7, ETag::parse(listed), Some(Timestamp::from_secs(5)));
            let head = head(found, modified);
            assert_eq!(version.is_described_by(&head), is_same, "{listed} {found} {modified:?}");
            assert_eq!(version.check(&head, false).is_ok(), is_same, "{listed} {found}");
        }
    }

    #[test]
    fn later_responses_must_be_for_the_version_of_the_first() {
        let version = Version::new(7, ETag::parse("listed"), Some(Timestamp::from_secs(5)));
        assert_eq!(version.condition(), Some(("\"listed\"".to_owned(), true)));
        assert!(version.check(&head("x", Some(5)), true).is_ok());
        assert_eq!(version.condition(), Some(("\"x\"".to_owned(), false)));
        assert!(version.has_etag() && !version.is_confirmed_by_etag());
        assert!(version.check(&head("X-gzip", Some(5)), true).is_err());
        assert!(version.check(&head("x-gzip", Some(9)), true).is_ok());
        assert!(version.check(&head("", Some(9)), true).is_err());
        assert!(version.check(&head("", Some(5)), false).is_err(), "nothing compared the ETags");
        assert!(version.check(&head("", None), false).is_err());
        assert!(version.check(&head("", Some(5)), true).is_ok());
        version.restart();
        assert!(version.check(&Head { size: Some(8), ..head("listed", None) }, true).is_err());
        assert!(version.check(&head("", Some(5)), true).is_ok());
        assert!(!version.has_etag());
        assert!(version.check(&head("", None), false).is_ok());
        assert!(version.check(&head("y", None), false).is_err());
    }

    #[test]
    fn condition_has_the_etag_that_the_store_knows() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let upper = md5.to_uppercase();
        let (gzip, weak) = (format!("{md5}-gzip"), format!("W/\"{md5}\""));
        let quoted = |etag: &str, is_listed| Some((format!("\"{etag}\""), is_listed));
        for (listed, first, condition) in [
            (md5, md5, quoted(md5, true)),
            (md5, &gzip, quoted(md5, true)),
            (md5, &upper, quoted(&upper, false)),
            (&upper, md5, quoted(md5, false)),
            (md5, "other", quoted("other", false)),
            (md5, "W/\"other\"", None),
            (md5, &weak, quoted(md5, true)),
            (md5, "", None),
            ("", "", None),
        ] {
            let version = Version::new(7, ETag::parse(listed), Some(Timestamp::from_secs(5)));
            version.check(&head(first, Some(5)), true).unwrap();
            assert_eq!(version.condition(), condition, "{listed} {first}");
        }
    }
}
