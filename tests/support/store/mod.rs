//! An S3 store in memory, for tests.
//!
//! It serves real HTTP (or HTTPS) on its own port, checks signatures and checksums as S3 does, and
//! injects faults on demand.
//!
//! ```ignore
//! let store = Store::start();
//! store.put("a/b", b"body");
//! store.fault(Fault::on("GetObject").key("a/b").times(1).status(503, "SlowDown"));
//! // ... point a client at store.endpoint(), BUCKET, ACCESS_KEY and SECRET_KEY ...
//! assert_eq!(store.count("GetObject"), 2);
//! ```
//!
//! From the connection to the data:
//!
//! | module | content |
//! | --- | --- |
//! | `server`, `tls` | the thread, the port, the connections, the certificates |
//! | `http` | the steps from a request to its response |
//! | `request`, `faults`, `region` | the log of requests, the faults, the region check |
//! | `response` | error responses, and bodies that break on purpose |
//! | `auth`, `body` | signatures and keys; request bodies and their checksums |
//! | `service` | the S3 operations, for the crate s3s |
//! | `state`, `object`, `checksum`, `time` | what the store holds |
//! | `archive` | storage classes of archived objects |
//! | `quirks` | stores that serve objects in other ways than S3 |
//! | `folding` | names that the store does not distinguish |

// Each program that includes this module uses only a part of it.
#![allow(dead_code)]

use std::{
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::SystemTime,
};

use bytes::Bytes;

mod archive;
mod auth;
mod body;
mod checksum;
mod faults;
mod folding;
mod http;
mod object;
mod quirks;
mod region;
mod request;
mod response;
mod server;
mod service;
mod state;
mod time;
mod tls;

#[allow(unused_imports)]
pub use self::{
    archive::Archive,
    checksum::Checksum,
    faults::{Fault, Hits},
    folding::{Folding, Folds, Listed},
    object::Object,
    quirks::{Quirks, Ranges},
    region::WrongRegion,
    request::Request,
};

use server::{Server, Shared};
use state::{Bucket, Clock, Key, State, Upload};
use time::{shift, whole_seconds};

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The bucket that every store starts with.
pub const BUCKET: &str = "bucket";
/// The region of a bucket without `set_bucket_region`. It accepts requests signed for any region.
pub const REGION: &str = "us-east-1";

/// The order in which a store lists its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ListOrder {
    /// By the bytes of the key, like S3.
    Bytes,
    /// All keys of a directory together: `/` sorts before all other bytes, like SeaweedFS.
    Paths,
}

/// A running store. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// None in a fault's callback, which must not keep the server alive.
    server: Option<Arc<Server>>,
}

impl Store {
    /// Starts a store that serves http.
    pub fn start() -> Store {
        Store::start_server(None)
    }

    /// Starts a store that serves https. Clients must trust `ca_pem`.
    pub fn start_tls() -> Store {
        Store::start_server(Some(tls::new()))
    }

    fn start_server(tls: Option<tls::Tls>) -> Store {
        let (server, shared) = Server::start(tls);
        Store { shared, server: Some(Arc::new(server)) }
    }

    fn without_server(shared: &Arc<Shared>) -> Store {
        Store { shared: shared.clone(), server: None }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.shared.endpoint.clone()
    }

    /// The certificate of the CA that clients must trust, as PEM.
    pub fn ca_pem(&self) -> String {
        self.shared.tls.as_ref().expect("the store was started with start_tls").ca_pem.clone()
    }

    // Buckets

    pub fn create_bucket(&self, bucket: &str) {
        let mut state = self.state();
        let new = Bucket::new(state.now());
        state.buckets.entry(bucket.to_owned()).or_insert(new);
    }

    pub fn remove_bucket(&self, bucket: &str) {
        self.state().buckets.remove(bucket);
    }

    /// Rejects requests to `bucket` that are signed for another region.
    pub fn set_bucket_region(&self, bucket: &str, region: &str) {
        self.bucket(bucket, |bucket| bucket.region = Some(region.to_owned()));
    }

    /// Sets how requests for the wrong region are rejected. Default: `WrongRegion::Malformed`.
    pub fn set_wrong_region(&self, response: WrongRegion) {
        self.state().wrong_region = response;
    }

    // Objects

    /// Puts an object into `BUCKET`, like a plain upload at the time of the store's clock.
    pub fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        self.put_in(BUCKET, key, body);
    }

    pub fn put_in(&self, bucket: &str, key: &str, body: impl AsRef<[u8]>) {
        let mut object = Object::new(Bytes::copy_from_slice(body.as_ref()));
        {
            let state = self.state();
            object.last_modified = whole_seconds(state.now());
            object.checksum = object.checksum.filter(|_| state.default_checksum);
        }
        self.put_object_in(bucket, key, object);
    }

    /// Puts exactly this object into `BUCKET`.
    pub fn put_object(&self, key: &str, object: Object) {
        self.put_object_in(BUCKET, key, object);
    }

    pub fn put_object_in(&self, bucket: &str, key: &str, object: Object) {
        self.bucket(bucket, |bucket| bucket.objects.insert(key.to_owned(), object));
    }

    /// Changes the storage class of an object in `BUCKET`.
    pub fn archive(&self, key: &str, archive: Archive) {
        let mut object = self.get(key).expect("the object exists");
        object.archive = Some(archive);
        self.put_object(key, object);
    }

    pub fn get(&self, key: &str) -> Option<Object> {
        self.get_in(BUCKET, key)
    }

    pub fn get_in(&self, bucket: &str, key: &str) -> Option<Object> {
        self.bucket(bucket, |bucket| bucket.objects.get(key).cloned())
    }

    /// The keys in `BUCKET`, in byte order.
    pub fn keys(&self) -> Vec<String> {
        self.keys_in(BUCKET)
    }

    pub fn keys_in(&self, bucket: &str) -> Vec<String> {
        self.bucket(bucket, |bucket| bucket.objects.keys().cloned().collect())
    }

    pub fn remove(&self, key: &str) -> Option<Object> {
        self.remove_in(BUCKET, key)
    }

    pub fn remove_in(&self, bucket: &str, key: &str) -> Option<Object> {
        self.bucket(bucket, |bucket| bucket.objects.remove(key))
    }

    /// The multipart uploads to `BUCKET` that are neither completed nor aborted: key and upload id.
    pub fn uploads(&self) -> Vec<(String, String)> {
        self.bucket(BUCKET, |bucket| {
            bucket.uploads.values().map(|u| (u.key.clone(), u.id.clone())).collect()
        })
    }

    /// Starts a multipart upload to `BUCKET` and abandons it, like a killed client.
    pub fn create_upload(&self, key: &str) -> String {
        self.state().create_upload(BUCKET, Upload::new(key)).expect("the first bucket exists")
    }

    // Time

    /// Stops the store's clock at `time`.
    ///
    /// The clock sets the LastModified of new objects, and the Date of responses. Signatures are
    /// still checked against real time.
    pub fn set_clock(&self, time: SystemTime) {
        self.state().clock = Clock::Stopped(time);
    }

    /// Moves the store's clock by `seconds`.
    pub fn shift_clock(&self, seconds: i64) {
        let mut state = self.state();
        state.clock = match state.clock {
            Clock::Running(offset) => Clock::Running(offset + seconds),
            Clock::Stopped(time) => Clock::Stopped(shift(time, seconds)),
        };
    }

    /// Sets the store's clock to real time again.
    pub fn reset_clock(&self) {
        self.state().clock = Clock::Running(0);
    }

    /// The time of the store's clock.
    pub fn now(&self) -> SystemTime {
        self.state().now()
    }

    // Access

    /// Accepts another pair of keys.
    pub fn allow_key(&self, access_key: &str, secret_key: &str) {
        let key = Key { secret: secret_key.to_owned(), token: None };
        self.state().keys.insert(access_key.to_owned(), key);
    }

    /// Accepts temporary credentials: a pair of keys that requires a session token.
    pub fn allow_session(&self, access_key: &str, secret_key: &str, token: &str) {
        let key = Key { secret: secret_key.to_owned(), token: Some(token.to_owned()) };
        self.state().keys.insert(access_key.to_owned(), key);
    }

    /// Rejects this access key from now on.
    pub fn revoke_key(&self, access_key: &str) {
        self.state().keys.remove(access_key);
    }

    /// Accepts unsigned requests.
    pub fn allow_anonymous(&self) {
        self.state().anonymous = true;
    }

    /// Refuses to delete this key, in any bucket.
    pub fn deny_delete(&self, key: &str) {
        self.state().undeletable.insert(key.to_owned());
    }

    // Settings

    /// Sets the maximum number of entries per page of a listing. Default: 1,000, like S3.
    pub fn set_page_size(&self, size: usize) {
        self.state().page_size = size;
    }

    pub fn set_list_order(&self, order: ListOrder) {
        self.state().list_order = order;
    }

    /// Sets the minimum size of all parts but the last. Default: 5 MiB, like S3; 0 accepts any.
    pub fn set_min_part_size(&self, size: usize) {
        self.state().min_part_size = size;
    }

    /// Sets whether the store refuses a key above or below another one, like a file system.
    pub fn set_rejects_conflicts(&self, on: bool) {
        self.state().rejects_conflicts = on;
    }

    /// Makes the store forget the part with this index (from 0) when it completes an upload.
    pub fn forget_part(&self, index: Option<usize>) {
        self.state().forgotten_part = index;
    }

    /// Sets whether a completion ignores the headers for the size and checksum of the object.
    pub fn ignore_completion_headers(&self, on: bool) {
        self.state().ignores_completion_headers = on;
    }

    /// Sets whether a completion accepts any ETag of a part.
    pub fn accept_any_part_etag(&self, on: bool) {
        self.state().accepts_part_etags = on;
    }

    /// Makes the store fold names, or not.
    pub fn set_folding(&self, folding: Option<Folding>) {
        self.state().folding = folding;
    }

    /// Makes the store serve objects in another way than S3, or not.
    pub fn set_quirks(&self, quirks: Option<Quirks>) {
        self.state().quirks = quirks;
    }

    /// Sets whether an upload without a checksum gets a CRC64NVME. Default: true, like S3.
    ///
    /// Other stores keep no checksum for such an upload.
    pub fn set_default_checksum(&self, on: bool) {
        self.state().default_checksum = on;
    }

    // Requests

    /// All requests since the start or the last `clear_requests`, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests.clone()
    }

    /// The requests of one operation.
    pub fn requests_of(&self, operation: &str) -> Vec<Request> {
        self.state()
            .log
            .requests
            .iter()
            .filter(|request| request.operation == operation)
            .cloned()
            .collect()
    }

    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    /// The number of requests of one operation, failed ones included.
    pub fn count(&self, operation: &str) -> usize {
        self.state().log.requests.iter().filter(|request| request.operation == operation).count()
    }

    /// The number of TCP connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    // Faults

    /// Adds a fault. For each request, the faults are tried in the order in which they were added.
    pub fn fault(&self, fault: Fault) -> Hits {
        self.state().faults.add(fault)
    }

    /// Removes all faults. Reopens the port if a fault has closed it.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
        self.shared.listen();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut state = self.state();
        act(state
            .buckets
            .get_mut(name)
            .unwrap_or_else(|| panic!("the store has no bucket {name:?}")))
    }
}
