//! Listing objects.

use crate::{
    error::Result,
    s3::{
        client::Client,
        request::S3Request,
        responses::listing::{ListPage, parse_page},
    },
};

/// Where a page of a listing starts.
pub(crate) enum ListFrom {
    /// At the first key.
    Beginning,
    /// After the key of this path.
    After(String),
    /// Where the page with this token ended.
    Token(String),
    /// At the first key. Keys with a `/` after the prefix are folded into common prefixes.
    OneLevel,
}

impl Client {
    /// Lists one page of the objects under `prefix`.
    pub(crate) fn list_page(&self, prefix: &str, from: &ListFrom) -> Result<ListPage> {
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        let start_after;
        match from {
            ListFrom::Beginning => {}
            ListFrom::After(path) => {
                start_after = format!("{prefix}{path}");
                query.push(("start-after", &start_after));
            }
            ListFrom::Token(token) => query.insert(0, ("continuation-token", token)),
            ListFrom::OneLevel => query.insert(0, ("delimiter", "/")),
        }
        self.retry("list", format!("s3://{}/{prefix}", self.bucket), || {
            parse_page(&self.send(&S3Request::new("GET", None).query(&query))?.xml()?)
        })
    }
}
