//! The ETag of a multipart upload: the MD5 of the parts' MD5s.
//!
//! It depends on the part size, which neither a listing nor a HEAD returns. The part sizes of common
//! tools are tried.

use crate::s3::{
    Hasher,
    parts::{part_count, part_size},
};

/// The default part sizes of common tools, in MiB.
const COMMON_PART_SIZES: [u64; 15] =
    [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024];

/// The most part sizes of one kind that are tried. Each costs one more hash of the content.
const MAX_UNUSUAL: usize = 4;

/// One hasher for each likely part size that divides `size` bytes into exactly `parts` parts.
/// `preferred` is the part size that s3keep itself would use.
pub(super) fn candidates(
    size: u64,
    parts: u32,
    preferred: u64,
) -> impl Iterator<Item = MultipartHasher> {
    let ours = part_size(size, preferred);
    let common = COMMON_PART_SIZES.into_iter().map(|mib| mib << 20);
    // A single part is the whole, whatever the part size is.
    let single = (parts == 1).then_some(size.max(1));
    let sizes = std::iter::once(ours).chain(common.filter(move |common| *common != ours));
    single
        .into_iter()
        .chain(sizes.filter(move |_| parts > 1))
        .filter(move |part| part_count(size, *part) == u64::from(parts))
        .map(MultipartHasher::new)
}

/// The other part sizes that an upload of `size` bytes in `parts` parts probably has had: whole MiB and whole
/// MB, and equal parts. Empty where there are too many.
pub(super) fn unusual_part_sizes(size: u64, parts: u32) -> Vec<u64> {
    let parts = u64::from(parts);
    if parts < 2 || size < parts {
        return Vec::new();
    }
    // All part sizes that divide `size` bytes into this number of parts.
    let (least, most) = (size.div_ceil(parts), (size - 1) / (parts - 1));
    let mut sizes = vec![least];
    for unit in [1 << 20, 1_000_000] {
        let units = least.div_ceil(unit)..=most / unit;
        if units.clone().count() <= MAX_UNUSUAL {
            sizes.extend(units.map(|n| n * unit));
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes.retain(|part| part_count(size, *part) == parts);
    sizes
}

/// Computes the MD5 of the MD5s of all parts.
pub(super) struct MultipartHasher {
    part_size: u64,
    /// Bytes that the current part still needs.
    left: u64,
    part: Hasher,
    whole: Hasher,
}

impl MultipartHasher {
    pub(super) fn new(part_size: u64) -> MultipartHasher {
        MultipartHasher { part_size, left: part_size, part: Hasher::md5(), whole: Hasher::md5() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.end_part();
            }
            let now = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.part.update(&bytes[..now]);
            self.left -= now as u64;
            bytes = &bytes[now..];
        }
    }

    fn end_part(&mut self) {
        let part = std::mem::replace(&mut self.part, Hasher::md5());
        self.whole.update(&part.finish());
        self.left = self.part_size;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_part();
        self.whole.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_of_a_multipart_upload_is_recomputed() {
        let mut hasher = MultipartHasher::new(2);
        hasher.update(b"aab");
        hasher.update(b"bc");
        let mut expected = Hasher::md5();
        for part in [&b"aa"[..], b"bb", b"c"] {
            let mut md5 = Hasher::md5();
            md5.update(part);
            expected.update(&md5.finish());
        }
        assert_eq!(hasher.finish(), expected.finish());
    }

    #[test]
    fn only_part_sizes_with_the_right_number_of_parts_are_tried() {
        let sizes = |size, parts| -> Vec<u64> {
            candidates(size, parts, 16 << 20).map(|hasher| hasher.part_size >> 20).collect()
        };
        assert_eq!(sizes(40 << 20, 5), [8]);
        assert_eq!(sizes(40 << 20, 3), [16, 15]);
        assert_eq!(sizes(40 << 20, 7), Vec::<u64>::new());
    }

    #[test]
    fn single_part_is_hashed_once_whatever_its_size_is() {
        for size in [0, 1, 3 << 20, 5 << 30] {
            assert_eq!(candidates(size, 1, 16 << 20).count(), 1, "{size}");
        }
        let mut hasher = candidates(3, 1, 16 << 20).next().unwrap();
        hasher.update(b"abc");
        let mut part = Hasher::md5();
        part.update(b"abc");
        let mut expected = Hasher::md5();
        expected.update(&part.finish());
        assert_eq!(hasher.finish(), expected.finish());
    }

    #[test]
    fn unusual_part_sizes_are_tried_where_there_are_few() {
        let mib: u64 = 1 << 20;
        // From 6.67 to 7.14 MiB, which is from 6.99 to 7.49 MB.
        let equal = (100 * mib).div_ceil(15);
        assert_eq!(unusual_part_sizes(100 * mib, 15), [equal, 7_000_000, 7 * mib]);
        assert_eq!(unusual_part_sizes(1000 * mib, 2), [500 * mib]);
        assert!(unusual_part_sizes(5 * mib, 1).is_empty());
        assert!(unusual_part_sizes(1, 3).is_empty());
    }
}
