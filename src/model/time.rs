//! Points in time, in UTC.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time in UTC: nanoseconds since 1970, clamped to the years 1677 to 2262.
///
/// ```
/// use s3keep::Timestamp;
///
/// let time = Timestamp::from_nanos(1_500_000_000);
/// assert_eq!(time.whole_second(), Timestamp::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Nanoseconds per second.
const SECOND: i64 = 1_000_000_000;

impl Timestamp {
    /// The time `nanos` nanoseconds after the start of 1970, or before it if negative.
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// The time `seconds` seconds after the start of 1970, or before it if negative.
    pub const fn from_secs(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(SECOND))
    }

    /// The time `seconds` seconds and `nanos` nanoseconds after the start of 1970.
    pub(crate) const fn from_unix(seconds: i64, nanos: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(SECOND).saturating_add(nanos))
    }

    /// Parses an RFC 3339 time, with `Z` or a numeric offset. `None` if the text is not one.
    pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| SystemTime::from(time).into())
    }

    /// Nanoseconds since 1970.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The same time without its fraction of a second. S3 stores whole seconds only.
    pub const fn whole_second(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(SECOND)))
    }

    /// The absolute difference of two times, in nanoseconds.
    pub const fn distance(self, other: Timestamp) -> u64 {
        self.0.abs_diff(other.0)
    }
}

/// The time in RFC 3339, in UTC and whole seconds: `2026-11-29T08:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All times in the range of `Timestamp` are in that of the conversion.
        let time = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(SECOND))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let (hour, minute, second) = time.to_hms();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        Timestamp(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => nanos(before.duration()).saturating_neg(),
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> SystemTime {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 >= 0 {
            SystemTime::UNIX_EPOCH + distance
        } else {
            SystemTime::UNIX_EPOCH - distance
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_displayed_in_rfc_3339() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (1_709_210_096_999_999_999, "2024-02-29T12:34:56Z"),
            (i64::MIN, "1677-09-21T00:12:43Z"),
            (i64::MAX, "2262-04-11T23:47:16Z"),
        ] {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), text);
        }
    }

    #[test]
    fn times_before_1970_and_out_of_range_are_kept_or_clamped() {
        let before = Timestamp::from_nanos(-1);
        assert_eq!(before.whole_second(), Timestamp::from_secs(-1));
        assert_eq!(Timestamp::from(SystemTime::from(before)), before);
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(Timestamp::from(far).nanos(), i64::MAX);
    }
}
