//! Holes: blocks of zeros that a download does not write.
//!
//! A file that was just created and set to its full length reads as zeros, and takes no disk space until
//! something is written. Every byte of a download is written at most once, and a download that is repeated
//! goes to a new file. So skipping zeros is enough.

/// The block size of most file systems.
const BLOCK: u64 = 4 << 10;

const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// The ranges of `bytes` that are not zeros, block by block, each with its offset in the file. `bytes`
/// belong at `offset`. Adjacent blocks are one range.
pub(super) fn data(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = next(offset, bytes, position, |block| !is_zero(block))?;
        let end = next(offset, bytes, start, is_zero).unwrap_or(bytes.len());
        position = end;
        Some((offset + start as u64, bytes.get(start..end)?))
    })
}

/// The start of the first block for which `is_wanted`, from `position` on.
fn next(
    offset: u64,
    bytes: &[u8],
    mut position: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    while position < bytes.len() {
        // Blocks are aligned in the file. The first and the last one may be incomplete.
        let left = BLOCK - (offset + position as u64) % BLOCK;
        let end = bytes.len().min(position + usize::try_from(left).unwrap_or(ZEROS.len()));
        if bytes.get(position..end).is_some_and(&is_wanted) {
            return Some(position);
        }
        position = end;
    }
    None
}

fn is_zero(block: &[u8]) -> bool {
    ZEROS.get(..block.len()) == Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(offset: u64, bytes: &[u8]) -> Vec<(u64, usize)> {
        data(offset, bytes).map(|(offset, bytes)| (offset, bytes.len())).collect()
    }

    #[test]
    fn only_blocks_of_zeros_are_left_out() {
        assert_eq!(ranges(0, &[]), []);
        assert_eq!(ranges(0, &[0; 20_000]), []);
        assert_eq!(ranges(5, &[1; 20_000]), [(5, 20_000)]);
        let mut bytes = vec![0; 20_000];
        bytes[0] = 1;
        bytes[8_191] = 1;
        assert_eq!(ranges(0, &bytes), [(0, 8_192)]);
        // From 4,000 on, the first block has 96 bytes.
        assert_eq!(ranges(4_000, &bytes), [(4_000, 96), (8_192, 4_096)]);
        bytes[19_999] = 1;
        assert_eq!(ranges(0, &bytes), [(0, 8_192), (16_384, 3_616)]);
    }

    #[test]
    fn data_and_zeros_together_are_the_whole() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut bytes = vec![0; random.usize(..40_000)];
            let offset = random.u64(..10_000);
            for _ in 0..random.usize(..4) {
                let at = random.usize(..=bytes.len());
                let len = random.usize(..=bytes.len() - at).min(9_000);
                bytes[at..at + len].fill_with(|| random.u8(..));
            }
            let mut written = vec![0; bytes.len()];
            for (at, data) in data(offset, &bytes) {
                let at = (at - offset) as usize;
                written[at..at + data.len()].copy_from_slice(data);
            }
            assert!(written == bytes);
        }
    }
}
