//! What a store does differently from AWS, as far as its responses have shown it. It is remembered, so
//! that the requests of a run find it out only once.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::s3::parts::MAX_PARTS;

/// The most keys of one DeleteObjects request
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
const MAX_DELETE_BATCH: usize = 1_000;

/// What the responses of a store have shown so far. All worker threads use the same value.
pub(crate) struct Quirks {
    max_delete_batch: AtomicUsize,
    max_parts: AtomicU64,
    key_encoding: AtomicU8,
    /// ListObjectsV2 works.
    pub lists_version_2: Flag,
    /// ListObjectsV2 is refused or ignored; ListObjects works.
    pub lists_version_1: Flag,
    /// Listings with the state of archived objects are refused.
    pub refuses_restore_status: Flag,
    /// Uploads with a checksum header are refused.
    pub refuses_checksums: Flag,
    /// Uploads whose content is not signed are refused.
    pub requires_signed_content: Flag,
    /// An object was stored with the headers as they are sent now.
    pub accepted_object: Flag,
    /// The same for a part.
    pub accepted_part: Flag,
    /// The same for the start of a multipart upload.
    pub accepted_start: Flag,
    /// The same for the completion of a multipart upload.
    pub accepted_completion: Flag,
    /// The completion of an upload with the headers for its size and checksum is refused.
    pub refuses_completion_headers: Flag,
    /// The completion of an upload with a checksum of the whole object is refused.
    pub refuses_whole_checksum: Flag,
    /// The ETag of an upload was the MD5 of its content.
    pub etags_are_md5: Flag,
    /// The ETag of a completed multipart upload was the one that S3 forms from the parts.
    pub etags_are_of_parts: Flag,
    /// The ETag of an upload looked like an MD5, and was not that of its content.
    pub etags_are_opaque: Flag,
    /// A GET of a range returned something else.
    pub ignores_ranges: Flag,
    /// A GET with the listed ETag in `If-Match` was refused, although the object is the listed one.
    pub refuses_listed_etags: Flag,
    /// A request with the ETag of the object in `If-Match` was refused.
    pub refuses_conditions: Flag,
    /// A HEAD of a part does not return the number of parts.
    pub hides_part_sizes: Flag,
}

impl Quirks {
    /// Nothing is known yet.
    pub(crate) fn new() -> Quirks {
        Quirks {
            max_delete_batch: AtomicUsize::new(MAX_DELETE_BATCH),
            max_parts: AtomicU64::new(MAX_PARTS),
            key_encoding: AtomicU8::new(0),
            lists_version_2: Flag::default(),
            lists_version_1: Flag::default(),
            refuses_restore_status: Flag::default(),
            refuses_checksums: Flag::default(),
            requires_signed_content: Flag::default(),
            accepted_object: Flag::default(),
            accepted_part: Flag::default(),
            accepted_start: Flag::default(),
            accepted_completion: Flag::default(),
            refuses_completion_headers: Flag::default(),
            refuses_whole_checksum: Flag::default(),
            etags_are_md5: Flag::default(),
            etags_are_of_parts: Flag::default(),
            etags_are_opaque: Flag::default(),
            ignores_ranges: Flag::default(),
            refuses_listed_etags: Flag::default(),
            refuses_conditions: Flag::default(),
            hides_part_sizes: Flag::default(),
        }
    }

    /// The most keys of a DeleteObjects request. 1 if objects are deleted one by one.
    pub(crate) fn max_delete_batch(&self) -> usize {
        self.max_delete_batch.load(Ordering::Relaxed)
    }

    /// A DeleteObjects request with more keys than `limit` failed.
    pub(crate) fn limit_delete_batch(&self, limit: usize) {
        self.max_delete_batch.fetch_min(limit.max(1), Ordering::Relaxed);
    }

    /// The most parts of a multipart upload.
    pub(crate) fn max_parts(&self) -> u64 {
        self.max_parts.load(Ordering::Relaxed)
    }

    /// A part with a higher number than `limit` was refused.
    pub(crate) fn limit_parts(&self, limit: u64) {
        self.max_parts.fetch_min(limit.max(1), Ordering::Relaxed);
    }

    /// How the store encodes the keys in listings, if a comparison has shown it.
    pub(crate) fn key_encoding(&self) -> Option<KeyEncoding> {
        let known = self.key_encoding.load(Ordering::Relaxed);
        KeyEncoding::ALL.into_iter().find(|encoding| *encoding as u8 == known)
    }

    pub(crate) fn set_key_encoding(&self, encoding: KeyEncoding) {
        self.key_encoding.store(encoding as u8, Ordering::Relaxed);
    }
}

/// How a listing encodes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyEncoding {
    /// Not at all.
    None = 1,
    /// Percent-encoding, and `+` for a space, like AWS.
    Form = 2,
    /// Percent-encoding.
    Percent = 3,
}

impl KeyEncoding {
    pub(crate) const ALL: [KeyEncoding; 3] =
        [KeyEncoding::None, KeyEncoding::Form, KeyEncoding::Percent];
}

/// Something that the run has learned.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It was a single case.
    pub(crate) fn unset(&self) {
        if self.is_set() {
            self.0.store(false, Ordering::Relaxed);
        }
    }
}
