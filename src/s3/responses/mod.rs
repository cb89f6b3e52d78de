//! The XML bodies of responses.
//!
//! Everything here is a function of the text. The parsers require only elements that s3keep uses:
//! some stores omit others that S3 always sends.

pub(crate) mod delete;
pub(crate) mod error;
pub(crate) mod listing;
pub(crate) mod multipart;
pub(crate) mod not_s3;
mod time;
pub(crate) mod url_encoding;

/// Runs every parser of responses except that of listings, for the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn parse_responses(xml: &str) {
    let _ = (error::parse_error(xml), error::parse_region(xml), delete::parse_deleted(xml));
    let _ = error::parse_nested_error(xml);
    let _ = (multipart::parse_upload_id(xml), multipart::parse_completed(xml));
    let _ = (multipart::parse_uploads(xml), multipart::parse_parts(xml));
    let _ = (not_s3::describe(xml), not_s3::message(404, xml));
    let _ = url_encoding::decode(xml.to_owned(), crate::s3::quirks::KeyEncoding::Form);
    let _ = time::parse_time(xml);
    crate::s3::clock::Clock::default().observe(Some(xml), std::time::SystemTime::now());
}
