//! Names that the store does not distinguish, like a gateway to a file system that folds them.

use icu_normalizer::ComposingNormalizerBorrowed;

use super::state::State;

/// Which names are one object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Folds {
    /// Names that differ in case.
    Case,
    /// Names that differ in case, in their Unicode form, in dots and spaces at the end of a segment, or in
    /// the direction of slashes.
    All,
    /// Names with `\` in place of `/`, like SeaweedFS.
    Backslashes,
}

/// Under which name an object is listed that was written under several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Listed {
    /// Under the first one, like a file system that preserves case.
    First,
    /// Under the latest one.
    Latest,
    /// In lower case.
    Lower,
}

/// How the store folds names.
#[derive(Clone, Copy, Debug)]
pub struct Folding {
    pub folds: Folds,
    pub listed: Listed,
    /// Whether a request to read an object needs the name that is listed.
    pub exact_reads: bool,
    /// Whether an old name stays listed, like that of a gateway with a cache, until it is deleted.
    pub remembers: bool,
}

impl Folding {
    fn form(self, key: &str) -> String {
        match self.folds {
            Folds::Case => key.to_lowercase(),
            Folds::Backslashes => key.replace('\\', "/"),
            Folds::All => {
                let nfc = ComposingNormalizerBorrowed::new_nfc().normalize(key).to_lowercase();
                let segments = nfc.split(['/', '\\']).map(|name| name.trim_end_matches(['.', ' ']));
                segments.collect::<Vec<_>>().join("/")
            }
        }
    }
}

impl State {
    /// The key under which the store finds an object.
    pub fn found_key(&self, bucket: &str, key: &str, is_read: bool) -> String {
        let folding = self.folding.filter(|folding| !(is_read && folding.exact_reads));
        let Some((folding, bucket)) = folding.zip(self.buckets.get(bucket)) else {
            return key.to_owned();
        };
        let form = folding.form(key);
        let mut keys = bucket.objects.keys();
        keys.find(|other| folding.form(other) == form).cloned().unwrap_or_else(|| key.to_owned())
    }

    /// The key under which the store keeps an object that is written now. Removes it from its old key.
    pub fn written_key(&mut self, bucket: &str, key: String) -> String {
        let Some(folding) = self.folding else { return key };
        let found = self.found_key(bucket, &key, false);
        let written = match (folding.listed, folding.folds) {
            (Listed::First, _) if found != key => found.clone(),
            (Listed::Lower, _) | (_, Folds::Backslashes) => folding.form(&key),
            _ => key,
        };
        if let Some(bucket) = self.buckets.get_mut(bucket)
            && found != written
            && let Some(object) = bucket.objects.remove(&found)
            && folding.remembers
        {
            self.remembered.insert(found, object);
        }
        written
    }
}
