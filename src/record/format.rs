//! The binary form of a record.
//!
//! | part | content |
//! | --- | --- |
//! | magic | `s3keep record` and a line feed |
//! | version | one byte |
//! | scope | what the record belongs to: its length, and so many bytes |
//! | times | one byte: 1 if the directory does not keep modification times, else 0 |
//! | entries | in tree order, each as below |
//! | checksum | the CRC-64/NVME of everything before, 8 bytes |
//!
//! An entry is: the number of bytes that its path shares with the previous path, the length of the
//! rest, the rest; the size; the ctime minus that of the previous entry; the mtime minus the ctime;
//! the kind of the ETag, and the ETag. Numbers are in LEB128: seven bits per byte, the lowest first.
//! A number that may be negative is stored zigzag: 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
//!
//! Most files were changed shortly after their predecessors, and modified when they were changed. So
//! an entry takes about 40 bytes, 16 of which are the MD5 of the ETag.

use crate::{
    model::{etag::ETag, paths::tree_order, time::Timestamp},
    record::entry::{Recorded, RecordedState},
    s3::{Checksum, Hasher},
};

const MAGIC: &[u8] = b"s3keep record\n";
const VERSION: u8 = 2;
const CHECKSUM_BYTES: usize = 8;

const NO_ETAG: u8 = 0;
const MD5_ETAG: u8 = 1;
const PARTS_ETAG: u8 = 2;
const OTHER_ETAG: u8 = 3;

/// What a record has around its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Where the entries start.
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// The directory keeps modification times.
    pub keeps_times: bool,
}

/// Checks everything around the entries. An error says why the file cannot be used.
pub(super) fn check(bytes: &[u8], scope: &[u8]) -> Result<Checked, &'static str> {
    let damaged = "it is damaged";
    let end = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(damaged)?;
    if !bytes.starts_with(MAGIC) {
        return Err("it is not a record of s3keep, or damaged");
    }
    match bytes[..end].get(MAGIC.len()) {
        Some(&VERSION) => {}
        Some(_) => return Err("another version of s3keep wrote it, or it is damaged"),
        None => return Err(damaged),
    }
    if bytes[end..] != checksum(&bytes[..end]) {
        return Err(damaged);
    }
    let mut reader = Reader { bytes: &bytes[..end], position: MAGIC.len() + 1 };
    let len = reader.length().ok_or(damaged)?;
    if reader.take(len).ok_or(damaged)? != scope {
        return Err("it belongs to another directory or bucket");
    }
    let keeps_times = *reader.take(1).and_then(<[u8]>::first).ok_or(damaged)? == 0;
    Ok(Checked { start: reader.position, end, keeps_times })
}

fn checksum(bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(Checksum::Crc64Nvme);
    hasher.update(bytes);
    hasher.finish()
}

/// Reads the entries of a record one after another.
pub(super) struct Cursor {
    position: usize,
    end: usize,
    path: String,
    state: RecordedState,
    etag: ETag,
}

impl Cursor {
    /// A cursor before the first of the entries from `start` to `end`.
    pub(super) fn new(start: usize, end: usize) -> Cursor {
        Cursor { position: start, end, path: String::new(), state: ZERO, etag: ETag::None }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn state(&self) -> RecordedState {
        self.state
    }

    pub(super) fn etag(&self) -> &ETag {
        &self.etag
    }

    /// Moves to the next entry. `false` at the end, and before an entry that is malformed.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.end) else { return false };
        let mut reader = Reader { bytes, position: self.position };
        let is_valid = self.read(&mut reader).is_some();
        self.position = if is_valid { reader.position } else { self.end };
        is_valid
    }

    fn read(&mut self, reader: &mut Reader) -> Option<()> {
        let is_first = self.path.is_empty();
        let shared = reader.length()?;
        let len = reader.length()?;
        let rest = std::str::from_utf8(reader.take(len)?).ok()?;
        if !self.path.is_char_boundary(shared) || rest.is_empty() {
            return None;
        }
        let replaced = self.path.split_off(shared);
        // Ascending, so that no path occurs twice.
        if !is_first && tree_order(&replaced, rest).is_ge() {
            return None;
        }
        self.path.push_str(rest);
        let size = reader.number()?;
        let changed = self.state.changed.nanos().wrapping_add(reader.signed()?);
        let modified = changed.wrapping_add(reader.signed()?);
        self.state = RecordedState {
            size,
            modified: Timestamp::from_nanos(modified),
            changed: Timestamp::from_nanos(changed),
        };
        self.etag = reader.etag()?;
        Some(())
    }
}

const ZERO: RecordedState = RecordedState {
    size: 0,
    modified: Timestamp::from_nanos(0),
    changed: Timestamp::from_nanos(0),
};

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(len)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        self.number().and_then(|number| usize::try_from(number).ok())
    }

    fn signed(&mut self) -> Option<i64> {
        self.number().map(|number| (number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn etag(&mut self) -> Option<ETag> {
        match *self.take(1)?.first()? {
            NO_ETAG => Some(ETag::None),
            MD5_ETAG => Some(ETag::Md5(self.take(16)?.try_into().ok()?)),
            PARTS_ETAG => {
                let md5 = self.take(16)?.try_into().ok()?;
                Some(ETag::Parts(md5, u32::try_from(self.number()?).ok()?))
            }
            OTHER_ETAG => {
                let len = self.length()?;
                Some(ETag::Other(std::str::from_utf8(self.take(len)?).ok()?.into()))
            }
            _ => None,
        }
    }
}

/// Writes a record.
pub(super) struct Encoder {
    bytes: Vec<u8>,
    last_path: String,
    last_changed: i64,
}

impl Encoder {
    pub(super) fn new(scope: &[u8], keeps_times: bool) -> Encoder {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        let mut encoder = Encoder { bytes, last_path: String::new(), last_changed: 0 };
        encoder.block(scope);
        encoder.bytes.push(u8::from(!keeps_times));
        encoder
    }

    /// Adds an entry, which must be greater in tree order than the previous one.
    pub(super) fn add(&mut self, path: &str, state: RecordedState, etag: &ETag) {
        let pairs = path.bytes().zip(self.last_path.bytes());
        let mut shared = pairs.take_while(|(new, last)| new == last).count();
        while !path.is_char_boundary(shared) {
            shared -= 1;
        }
        self.number(shared as u64);
        self.block(&path.as_bytes()[shared..]);
        self.last_path.truncate(shared);
        self.last_path.push_str(&path[shared..]);
        let (modified, changed) = (state.modified.nanos(), state.changed.nanos());
        self.number(state.size);
        self.signed(changed.wrapping_sub(self.last_changed));
        self.signed(modified.wrapping_sub(changed));
        self.last_changed = changed;
        match etag {
            ETag::None => self.bytes.push(NO_ETAG),
            ETag::Md5(md5) => {
                self.bytes.push(MD5_ETAG);
                self.bytes.extend(md5);
            }
            ETag::Parts(md5, parts) => {
                self.bytes.push(PARTS_ETAG);
                self.bytes.extend(md5);
                self.number(u64::from(*parts));
            }
            ETag::Other(text) => {
                self.bytes.push(OTHER_ETAG);
                self.block(text.as_bytes());
            }
        }
    }

    pub(super) fn add_entry(&mut self, entry: &Recorded) {
        self.add(&entry.path, entry.state, &entry.etag);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = checksum(&self.bytes);
        self.bytes.extend(checksum);
        self.bytes
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63).cast_unsigned());
    }

    fn block(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: u64, modified: i64, changed: i64, etag: &str) -> Recorded {
        let modified = Timestamp::from_nanos(modified);
        let changed = Timestamp::from_nanos(changed);
        let state = RecordedState { size, modified, changed };
        Recorded { path: path.into(), state, etag: ETag::parse(etag) }
    }

    fn entries() -> Vec<Recorded> {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        vec![
            entry("a", 0, 0, 0, md5),
            entry("a/b", u64::MAX, i64::MIN, i64::MAX, &format!("{md5}-10000")),
            entry("a/b\u{e9}", 1, i64::MAX, i64::MIN, "opaque"),
            entry("a/b\u{eb}", 127, -1, 1, ""),
            entry("a-b", 128, 1_700_000_000_123_456_789, 1_700_000_001_000_000_000, md5),
        ]
    }

    fn encoded(entries: &[Recorded]) -> Vec<u8> {
        let mut encoder = Encoder::new(b"scope", true);
        entries.iter().for_each(|entry| encoder.add_entry(entry));
        encoder.finish()
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<Recorded>, &'static str> {
        let Checked { start, end, .. } = check(bytes, b"scope")?;
        let mut cursor = Cursor::new(start, end);
        let mut entries = Vec::new();
        while cursor.advance(bytes) {
            let (path, state) = (cursor.path().into(), cursor.state());
            entries.push(Recorded { path, state, etag: cursor.etag().clone() });
        }
        Ok(entries)
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        for len in 0..=entries().len() {
            let entries = &entries()[..len];
            assert_eq!(decoded(&encoded(entries)).as_deref(), Ok(entries));
        }
    }

    #[test]
    fn damaged_record_is_rejected_wherever_the_damage_is() {
        let bytes = encoded(&entries());
        for at in 0..bytes.len() {
            assert!(decoded(&bytes[..at]).is_err(), "cut to {at} bytes");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decoded(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(decoded(&longer).is_err());
        assert!(check(&bytes, b"another").is_err());
    }

    /// A file with a valid checksum may still be malformed: someone else wrote it.
    #[test]
    fn malformed_entries_end_the_record_and_never_panic() {
        let bytes = encoded(&entries());
        let Checked { start, end, .. } = check(&bytes, b"scope").unwrap();
        let original = decoded(&bytes).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let mut forged = bytes[..end].to_vec();
            let at = random.usize(start..end);
            forged[at] = random.u8(..);
            forged.truncate(random.usize(start..=end));
            let sum = checksum(&forged);
            forged.extend(sum);
            let paths: Vec<_> = decoded(&forged).unwrap().into_iter().map(|e| e.path).collect();
            assert!(paths.is_sorted_by(|a, b| tree_order(a, b).is_lt()), "{paths:?}");
            assert!(paths.len() <= original.len() + 3);
        }
    }

    #[test]
    fn entry_of_a_usual_tree_takes_about_40_bytes() {
        let entries: Vec<Recorded> = (0..1_000_i64)
            .map(|n| {
                let changed = 1_700_000_000_000_000_000 + n * 3_456_789;
                let path = format!("photos/2024/summer/image-{n:05}.jpg");
                entry(&path, 4_096 + n.unsigned_abs(), changed, changed, &format!("{n:032x}"))
            })
            .collect();
        let bytes = encoded(&entries).len() / entries.len();
        assert!((25..=40).contains(&bytes), "{bytes}");
    }
}
