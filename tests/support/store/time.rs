//! Times as S3 keeps and writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use s3s::dto::{Timestamp, TimestampFormat};

/// Drops the fraction of a second: S3 keeps times in whole seconds.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).expect("the time is after 1970");
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

pub(super) fn shift(time: SystemTime, seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - distance } else { time + distance }
}

/// The value of a Date header.
pub(super) fn http_date(time: SystemTime) -> HeaderValue {
    let mut date = Vec::new();
    Timestamp::from(time)
        .format(TimestampFormat::HttpDate, &mut date)
        .expect("the time has an HTTP date");
    HeaderValue::try_from(date).expect("an HTTP date is ASCII")
}
