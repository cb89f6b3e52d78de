//! S3 in S3's own terms: its operations are methods of the [`Client`], each signed, retried where that is
//! safe, and sent over one pool of connections.

mod access;
mod checksum;
mod client;
mod credentials;
mod http;
mod listing;
mod operations;
pub(crate) mod options;
pub(crate) mod parts;
mod profile;
mod throttle;
mod wire;
mod xml;

pub use access::{Access, AccessOptions, Addressing};
pub use checksum::Checksum;
pub(crate) use checksum::{Hasher, base64, hex};
pub(crate) use client::Client;
pub(crate) use http::Payload;
pub(crate) use listing::Listed;
pub(crate) use operations::{Head, ListFrom, MAX_DELETE_BATCH, Sink, UploadedPart};
pub use profile::Env;
pub(crate) use wire::{ListedPart, OpenUpload};

#[cfg(fuzzing)]
pub(crate) use listing::parse_listing;
#[cfg(fuzzing)]
pub(crate) use wire::parse_answers;

/// How much is read or hashed at a time, in bytes.
pub(crate) const CHUNK: usize = 128 << 10;
