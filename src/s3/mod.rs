//! S3 in S3's own terms: its operations are methods of the [`Client`], each signed, retried where that is
//! safe, and sent over one pool of connections.

mod access;
mod access_keys;
mod address;
mod checksum;
mod client;
mod credentials;
mod fetch;
mod operations;
pub(crate) mod options;
pub(crate) mod parts;
mod payload;
mod profile;
mod request_bodies;
mod responses;
mod sign;
mod throttle;
mod transport;
mod xml;

pub use access::{Access, AccessOptions, Addressing};
pub use checksum::Checksum;
pub(crate) use checksum::{Hasher, base64};
pub(crate) use client::Client;
pub(crate) use operations::{Head, ListFrom, MAX_DELETE_BATCH, Sink};
pub(crate) use payload::Payload;
pub use profile::Env;
pub(crate) use responses::{
    listing::Listed,
    multipart::{ListedPart, OpenUpload, UploadedPart},
};

#[cfg(fuzzing)]
pub(crate) use responses::{listing::parse_listing, parse_responses};
