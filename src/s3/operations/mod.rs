//! The operations of S3 that s3keep needs: one method of the [`Client`](crate::s3::client::Client)
//! each.

mod archived;
mod complete;
mod content;
mod content_range;
mod delete;
mod download;
mod head;
mod list;
mod multipart;
mod put;
mod version;

pub(crate) use complete::SentUpload;
pub(crate) use download::{Received, Sink};
pub(crate) use head::Head;
pub(crate) use list::ListFrom;
pub(crate) use put::Stored;
pub(crate) use version::Version;
