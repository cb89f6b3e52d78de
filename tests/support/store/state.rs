//! What the store holds: buckets, multipart uploads, access keys, settings, the log and the faults.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use s3s::{S3Result, s3_error};

use super::{
    ACCESS_KEY, BUCKET, ListOrder, SECRET_KEY,
    checksum::Checksum,
    faults::Faults,
    folding::Folding,
    object::Object,
    quirks::Quirks,
    region::WrongRegion,
    request::Log,
    time::{shift, whole_seconds},
};

/// S3's minimum size of all parts of a multipart upload but the last.
const MIN_PART_SIZE: usize = 5 << 20;

pub(super) struct State {
    pub buckets: BTreeMap<String, Bucket>,
    pub keys: HashMap<String, Key>,
    pub anonymous: bool,
    pub undeletable: HashSet<String>,
    pub wrong_region: WrongRegion,
    pub clock: Clock,
    pub page_size: usize,
    pub list_order: ListOrder,
    pub min_part_size: usize,
    pub default_checksum: bool,
    pub rejects_conflicts: bool,
    /// The index of the part that completions forget.
    pub forgotten_part: Option<usize>,
    /// Completions do not check size and checksum of the object.
    pub ignores_completion_headers: bool,
    /// Completions do not check the ETags of the parts.
    pub accepts_part_etags: bool,
    pub folding: Option<Folding>,
    pub quirks: Option<Quirks>,
    /// Names that are listed although they are other spellings of an object.
    pub remembered: BTreeMap<String, Object>,
    pub uploads_created: u64,
    pub log: Log,
    pub faults: Faults,
}

pub(super) struct Key {
    pub secret: String,
    pub token: Option<String>,
}

pub(super) enum Clock {
    /// Real time plus this many seconds.
    Running(i64),
    Stopped(SystemTime),
}

pub(super) struct Bucket {
    pub region: Option<String>,
    pub created: SystemTime,
    pub objects: BTreeMap<String, Object>,
    /// By key and number, which is the order in which S3 lists them.
    pub uploads: BTreeMap<(String, u64), Upload>,
}

impl Bucket {
    pub fn new(created: SystemTime) -> Bucket {
        Bucket { region: None, created, objects: BTreeMap::new(), uploads: BTreeMap::new() }
    }
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone)]
pub(super) struct Upload {
    pub key: String,
    pub id: String,
    /// Counts the uploads of the store in the order of their creation.
    pub number: u64,
    pub initiated: SystemTime,
    /// The checksum algorithm, if the client chose one.
    pub algorithm: Option<&'static str>,
    pub composite: bool,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub parts: BTreeMap<i32, Part>,
}

impl Upload {
    pub fn new(key: &str) -> Upload {
        Upload {
            key: key.to_owned(),
            id: String::new(),
            number: 0,
            initiated: UNIX_EPOCH,
            algorithm: None,
            composite: false,
            content_type: None,
            content_encoding: None,
            metadata: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Part {
    pub body: Bytes,
    pub md5: [u8; 16],
    pub checksum: Option<Checksum>,
    pub last_modified: SystemTime,
}

impl State {
    pub fn new() -> State {
        let key = Key { secret: SECRET_KEY.to_owned(), token: None };
        State {
            buckets: BTreeMap::from([(BUCKET.to_owned(), Bucket::new(SystemTime::now()))]),
            keys: HashMap::from([(ACCESS_KEY.to_owned(), key)]),
            anonymous: false,
            undeletable: HashSet::new(),
            wrong_region: WrongRegion::Malformed,
            clock: Clock::Running(0),
            page_size: 1000,
            list_order: ListOrder::Bytes,
            min_part_size: MIN_PART_SIZE,
            default_checksum: true,
            rejects_conflicts: false,
            forgotten_part: None,
            ignores_completion_headers: false,
            accepts_part_etags: false,
            folding: None,
            quirks: None,
            remembered: BTreeMap::new(),
            uploads_created: 0,
            log: Log::default(),
            faults: Faults::default(),
        }
    }

    /// The time of the store's clock.
    pub fn now(&self) -> SystemTime {
        match self.clock {
            Clock::Running(offset) => shift(SystemTime::now(), offset),
            Clock::Stopped(time) => time,
        }
    }

    pub fn bucket(&mut self, name: &str) -> S3Result<&mut Bucket> {
        let missing = || s3_error!(NoSuchBucket, "The specified bucket does not exist");
        self.buckets.get_mut(name).ok_or_else(missing)
    }

    pub fn object(&mut self, bucket: &str, key: &str) -> S3Result<Object> {
        let missing = || s3_error!(NoSuchKey, "The specified key does not exist.");
        let key = self.found_key(bucket, key, true);
        self.bucket(bucket)?.objects.get(&key).cloned().ok_or_else(missing)
    }

    /// Returns an error if the store rejects conflicts, and another key is above or below this one.
    pub fn check_conflict(&mut self, bucket: &str, key: &str) -> S3Result<()> {
        let is_below =
            |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        let rejects = self.rejects_conflicts;
        let mut keys = self.bucket(bucket)?.objects.keys();
        if rejects && keys.any(|other| is_below(other, key) || is_below(key, other)) {
            return Err(s3_error!(InvalidRequest, "A file or directory is in the way."));
        }
        Ok(())
    }

    pub fn upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        let missing = || s3_error!(NoSuchUpload, "The specified upload does not exist.");
        let mut uploads = self.bucket(bucket)?.uploads.values_mut();
        uploads.find(|upload| upload.key == key && upload.id == id).ok_or_else(missing)
    }

    /// Adds a multipart upload, and returns its id.
    pub fn create_upload(&mut self, bucket: &str, mut upload: Upload) -> S3Result<String> {
        self.uploads_created += 1;
        upload.number = self.uploads_created;
        // Ids of some stores contain such characters. A client has to encode them in a query.
        upload.id = format!("2~upload+{}/=", upload.number);
        upload.initiated = whole_seconds(self.now());
        let id = upload.id.clone();
        self.bucket(bucket)?.uploads.insert((upload.key.clone(), upload.number), upload);
        Ok(id)
    }
}
