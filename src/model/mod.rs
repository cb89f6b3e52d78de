//! Plain data that every other module uses: entries of both sides, names, times, ETags and counts.
//!
//! These files import nothing from the rest of the crate, and no file here does input or output.

pub(crate) mod access_point;
pub(crate) mod archive_class;
pub(crate) mod attribute;
pub(crate) mod bucket_url;
pub(crate) mod contents;
pub(crate) mod count;
pub(crate) mod direction;
pub(crate) mod entry;
pub(crate) mod escape;
pub(crate) mod etag;
pub(crate) mod file_mode;
pub(crate) mod fold;
pub(crate) mod found;
pub(crate) mod links;
pub(crate) mod paths;
pub(crate) mod similar;
pub(crate) mod skip;
pub(crate) mod time;
