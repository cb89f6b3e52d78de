//! The sizes and ranges of the parts of large objects.

use std::ops::Range;

/// The smallest part of a multipart upload except the last, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MIN_PART_SIZE: u64 = 5 << 20;
/// The largest part of a multipart upload, in bytes.
pub const MAX_PART_SIZE: u64 = 5 << 30;
/// The most parts of a multipart upload.
pub const MAX_PARTS: u64 = 10_000;

/// The size of the parts of an object of `size` bytes: `wanted` or, if the object would then have
/// more than 10,000 parts, the smallest whole number of MiB that avoids this. All in bytes.
pub fn part_size(size: u64, wanted: u64) -> u64 {
    part_size_within(size, wanted, MAX_PARTS)
}

/// The same for a store that allows at most `max_parts` parts.
pub(crate) fn part_size_within(size: u64, wanted: u64, max_parts: u64) -> u64 {
    let least = size.div_ceil(max_parts.max(1)).next_multiple_of(1 << 20);
    wanted.clamp(MIN_PART_SIZE, MAX_PART_SIZE).max(least)
}

/// Whether an object of `size` bytes is transferred in parts. `wanted` is the part size of the
/// configuration.
pub(crate) fn is_large(size: u64, wanted: u64) -> bool {
    size > wanted
}

/// The number of parts of an object of `size` bytes. An empty object has one part, too.
pub(crate) fn part_count(size: u64, part_size: u64) -> u64 {
    size.div_ceil(part_size).max(1)
}

/// The byte range of part `index` (from 0). Empty for an index after the last part.
pub(crate) fn part_range(size: u64, part_size: u64, index: u64) -> Range<u64> {
    let start = (index * part_size).min(size);
    start..(start + part_size).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_more_than_10000_parts() {
        let mib = 1 << 20;
        assert_eq!(part_size(1 << 30, 16 * mib), 16 * mib);
        assert_eq!(part_size(5 << 40, 16 * mib), 525 * mib);
        let sizes = [
            0,
            1,
            5 * mib,
            5 * mib + 1,
            50_000 * mib,
            50_000 * mib + 1,
            160_000 * mib,
            160_000 * mib + 1,
            (5 << 40) - 1,
            5 << 40,
        ];
        for size in sizes {
            for wanted in [0, 5 * mib, 16 * mib, 17 * mib + 3, 5 << 30, u64::MAX] {
                let part = part_size(size, wanted);
                assert!((MIN_PART_SIZE..=MAX_PART_SIZE).contains(&part), "{size} {wanted}");
                assert!(part_count(size, part) <= MAX_PARTS, "{size} {wanted}");
                let fits =
                    part_count(size, wanted.clamp(MIN_PART_SIZE, MAX_PART_SIZE)) <= MAX_PARTS;
                assert_eq!(fits, part == wanted.clamp(MIN_PART_SIZE, MAX_PART_SIZE));
            }
        }
    }

    #[test]
    fn part_ranges_cover_the_whole_object() {
        for size in [1u64, 9, 10, 11, 25] {
            let count = part_count(size, 10);
            let ranges: Vec<_> = (0..count).map(|n| part_range(size, 10, n)).collect();
            assert_eq!(ranges[0].start, 0);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(ranges[ranges.len() - 1].end, size);
            assert!(ranges.iter().all(|range| !range.is_empty()));
        }
    }
}
