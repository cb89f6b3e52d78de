//! The S3 client. Its operations are methods of [`Client`], which signs requests, retries temporary
//! failures, and sends them over one pool of connections.
//!
//! Nothing in this folder is specific to backups.

mod access;
mod account_headers;
mod address;
mod aws_hosts;
mod bucket_in_endpoint;
mod checksum;
mod client;
mod clock;
mod credentials;
mod env;
mod error_response;
mod fetch;
mod operations;
pub(crate) mod options;
mod outage;
pub(crate) mod parts;
mod payload;
mod profile;
mod quirks;
mod request;
mod request_bodies;
mod responses;
mod retry;
mod sign;
mod throttle;
mod transport;
mod watchdog;
mod xml;

pub use access::{Access, AccessOptions, Addressing};
pub use checksum::Checksum;
pub(crate) use checksum::{ContentDigest, Hasher, base64, md5_of_md5s};
pub(crate) use client::Client;
pub use env::Env;
pub(crate) use operations::{Head, ListFrom, Received, SentUpload, Sink, Stored, Version};
pub(crate) use payload::Payload;
pub(crate) use responses::{
    listing::{Listed, NextPage},
    multipart::{ListedPart, OpenUpload, UploadedPart},
};

#[cfg(fuzzing)]
pub(crate) use responses::{listing::parse_listing, parse_responses};
