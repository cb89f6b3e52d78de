//! A record while a run uses it.

use std::{cmp::Ordering, fmt, io, mem};

use crate::{
    model::{
        entry::{File, Object},
        etag::ETag,
        paths::tree_order,
    },
    record::{
        entry::{Known, Recorded, RecordedState},
        format::{self, Checked, Cursor, Encoder},
        location::{Location, RecordScope},
    },
};

/// What the previous runs recorded, and what this one learned.
pub(crate) struct Record {
    /// The file that was read.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The next entry to compare, and its number. `None` at the end.
    cursor: Option<Cursor>,
    /// For each entry up to the cursor, whether the run keeps it.
    kept: Vec<bool>,
    learned: Vec<Recorded>,
    /// The directory keeps modification times, unless a restore found that it does not.
    keeps_times: bool,
    /// What the file says about that.
    kept_times: bool,
    /// There is an entry for the path that was compared last.
    is_at_entry: bool,
    /// The file exists, and cannot be used.
    is_unusable: bool,
}

impl Record {
    /// A record without entries.
    pub(crate) fn empty() -> Record {
        Record::new(Vec::new(), 0, 0)
    }

    /// Reads the record at `location`. A file that cannot be used counts as an empty record; the
    /// text says why.
    pub(crate) fn load(location: Location, scope: &RecordScope) -> (Record, Option<String>) {
        let why = match location.read() {
            Ok(None) => return (Record::empty(), None),
            Ok(Some(bytes)) => match format::check(&bytes, scope.as_bytes()) {
                Ok(Checked { start, end, keeps_times }) => {
                    let record = Record::new(bytes, start, end);
                    return (Record { keeps_times, kept_times: keeps_times, ..record }, None);
                }
                Err(why) => why.to_owned(),
            },
            Err(error) => error.to_string(),
        };
        let why = format!(
            "the record {} is not used: {why}; contents are compared instead",
            location.0.display()
        );
        (Record { is_unusable: true, ..Record::empty() }, Some(why))
    }

    fn new(bytes: Vec<u8>, start: usize, end: usize) -> Record {
        let mut record = Record {
            bytes,
            start,
            end,
            cursor: Some(Cursor::new(start, end)),
            kept: Vec::new(),
            learned: Vec::new(),
            keeps_times: true,
            kept_times: true,
            is_at_entry: false,
            is_unusable: false,
        };
        record.advance();
        record
    }

    /// Compares a file and an object of the same path with their entry. The paths must be in tree
    /// order.
    pub(crate) fn compare(&mut self, file: &File, object: &Object, ignore_ctime: bool) -> Known {
        match self.compare_entry(file, object, ignore_ctime) {
            Known::Nothing | Known::Changed if !self.keeps_times => Known::WithoutTimes,
            known => known,
        }
    }

    fn compare_entry(&mut self, file: &File, object: &Object, ignore_ctime: bool) -> Known {
        self.is_at_entry = false;
        while let Some(cursor) = &self.cursor {
            match tree_order(cursor.path(), &file.path) {
                Ordering::Less => self.advance(),
                Ordering::Greater => break,
                Ordering::Equal => {
                    self.is_at_entry = true;
                    let (state, etag) = (cursor.state(), cursor.etag());
                    return Known::of(state, etag, file, object, ignore_ctime);
                }
            }
        }
        Known::Nothing
    }

    /// The recorded ETag of the file that was compared last, if the file is as recorded.
    pub(crate) fn etag_of_unchanged(&self, file: &File, ignore_ctime: bool) -> Option<ETag> {
        let cursor = self.cursor.as_ref().filter(|_| self.is_at_entry)?;
        let mut now = RecordedState::of_scanned(file);
        if ignore_ctime {
            now.changed = cursor.state().changed;
        }
        let is_known = now == cursor.state() && *cursor.etag() != ETag::None;
        is_known.then(|| cursor.etag().clone())
    }

    /// Keeps the entry of the path that was compared last, if there is one.
    pub(crate) fn keep(&mut self) {
        if let Some(kept) = self.kept.last_mut().filter(|_| self.is_at_entry) {
            *kept = true;
        }
    }

    /// Adds entries, which replace those of the same paths.
    pub(crate) fn learn(&mut self, facts: Vec<Recorded>) {
        self.learned.extend(facts);
    }

    /// Says whether the directory keeps the modification times that restored files get.
    pub(crate) fn set_keeps_times(&mut self, keeps_times: bool) {
        self.keeps_times = keeps_times;
    }

    fn advance(&mut self) {
        if let Some(mut cursor) = self.cursor.take()
            && cursor.advance(&self.bytes)
        {
            self.kept.push(false);
            self.cursor = Some(cursor);
        }
    }

    /// Writes the entries that were kept or learned, unless they are those that the file has.
    pub(crate) fn save(mut self, location: Location, scope: &RecordScope) -> io::Result<()> {
        while self.cursor.is_some() {
            self.advance();
        }
        let is_same = self.kept.iter().all(|kept| *kept)
            && self.learned.is_empty()
            && self.keeps_times == self.kept_times;
        if is_same && !self.is_unusable {
            return Ok(());
        }
        // Of several entries for one path, the last one counts.
        self.learned.reverse();
        self.learned.sort_by(|a, b| tree_order(&a.path, &b.path));
        self.learned.dedup_by(|a, b| a.path == b.path);
        let learned = mem::take(&mut self.learned);
        let mut learned = learned.iter().peekable();
        let mut encoder = Encoder::new(scope.as_bytes(), self.keeps_times);
        let mut cursor = Cursor::new(self.start, self.end);
        for kept in &self.kept {
            if !cursor.advance(&self.bytes) {
                break;
            }
            while let Some(fact) =
                learned.next_if(|fact| tree_order(&fact.path, cursor.path()).is_lt())
            {
                encoder.add_entry(fact);
            }
            let is_replaced = learned.peek().is_some_and(|fact| *fact.path == *cursor.path());
            if *kept && !is_replaced {
                encoder.add(cursor.path(), cursor.state(), cursor.etag());
            }
        }
        learned.for_each(|fact| encoder.add_entry(fact));
        location.write(&encoder.finish())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { bytes, learned, .. } = self;
        f.debug_struct("Record").field("bytes", &bytes.len()).field("learned", learned).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::time::Timestamp;

    fn file(path: &str, changed: i64) -> File {
        let (modified, changed) = (Timestamp::from_secs(5), Timestamp::from_secs(changed));
        File { path: path.into(), size: 1, modified, changed, target: None }
    }

    fn object(path: &str, etag: &str) -> Object {
        let modified = Timestamp::from_secs(9);
        Object { path: path.into(), size: 1, modified, etag: ETag::parse(etag) }
    }

    fn fact(path: &str, changed: i64, etag: &str) -> Recorded {
        let state = RecordedState::of_scanned(&file(path, changed));
        Recorded { path: path.into(), state, etag: ETag::parse(etag) }
    }

    fn scope() -> RecordScope {
        RecordScope::new(None, &"s3://bucket".parse().unwrap(), Path::new("/dir"))
    }

    fn save(path: &Path, mut record: Record, facts: Vec<Recorded>) -> Record {
        record.learn(facts);
        record.save(Location(path), &scope()).unwrap();
        let (record, why) = Record::load(Location(path), &scope());
        assert_eq!(why, None);
        record
    }

    #[test]
    fn pair_is_compared_with_the_entry_of_its_path() {
        let home = tempfile::tempdir().unwrap();
        let facts = vec![fact("b", 1, "x"), fact("a/b", 2, "y"), fact("d", 3, "")];
        let mut record = save(&home.path().join("r"), Record::empty(), facts);
        let mut compare = |path, changed, etag, ignore_ctime| {
            record.compare(&file(path, changed), &object(path, etag), ignore_ctime)
        };
        assert_eq!(compare("a", 1, "x", false), Known::Nothing);
        assert_eq!(compare("a/b", 2, "y", false), Known::Same);
        assert_eq!(compare("a/b", 3, "y", false), Known::Changed);
        assert_eq!(compare("a/b", 3, "y", true), Known::Same);
        assert_eq!(compare("a/b", 2, "z", false), Known::Changed);
        assert_eq!(compare("a/b", 2, "", false), Known::Nothing);
        assert_eq!(compare("b", 1, "x", false), Known::Same);
        assert_eq!(compare("c", 1, "x", false), Known::Nothing);
        assert_eq!(compare("d", 3, "x", false), Known::Changed, "an uncertain state");
        assert_eq!(compare("e", 1, "x", false), Known::Nothing);
    }

    #[test]
    fn kept_and_learned_entries_replace_the_record() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("r");
        let facts = ["a", "b", "c", "d"].map(|path| fact(path, 1, "x"));
        let mut record = save(&path, Record::empty(), facts.into());
        for path in ["a", "c"] {
            assert_eq!(record.compare(&file(path, 1), &object(path, "x"), false), Known::Same);
            record.keep();
        }
        let facts =
            vec![fact("e", 1, "x"), fact("c", 2, "y"), fact("c", 3, "z"), fact("0", 1, "x")];
        let mut record = save(&path, record, facts);
        let expected = [("0", 1, "x"), ("a", 1, "x"), ("c", 3, "z"), ("e", 1, "x")];
        for (path, changed, etag) in expected {
            let known = record.compare(&file(path, changed), &object(path, etag), false);
            assert_eq!(known, Known::Same, "{path}");
            record.keep();
        }
        // A record that would not change is not written.
        let modified = || path.metadata().unwrap().modified().unwrap();
        let before = modified();
        let mut record = save(&path, record, Vec::new());
        assert_eq!(modified(), before);
        assert_eq!(record.compare(&file("b", 1), &object("b", "x"), false), Known::Nothing);
        // Nothing was kept: the record is empty now.
        let mut record = save(&path, record, Vec::new());
        assert_eq!(record.compare(&file("a", 1), &object("a", "x"), false), Known::Nothing);
    }

    #[test]
    fn unusable_record_counts_as_empty_and_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("r");
        std::fs::write(&path, "not a record").unwrap();
        let (record, why) = Record::load(Location(&path), &scope());
        assert!(why.unwrap().contains("is not used"));
        save(&path, record, Vec::new());
    }
}
