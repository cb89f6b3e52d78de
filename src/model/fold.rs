//! Spellings of a path that some stores and file systems do not distinguish.
//!
//! A gateway to a file system has the names of that file system. On those of macOS and Windows, `IMG.JPG`
//! and `img.jpg` are one file, and so are the composed and the decomposed form of `é`. Windows also
//! ignores dots and spaces at the end of a name, and reads `\` as `/`.
//!
//! The folded form ignores all of these differences, and a few more. So two names of one entry have the
//! same folded form, but two names of the same folded form may be two entries.

use std::hash::{BuildHasher, RandomState};

use icu_normalizer::DecomposingNormalizerBorrowed;

/// The form that all spellings of `path` have in common.
pub(crate) fn folded(path: &str) -> String {
    let mut folded = String::with_capacity(path.len());
    fold_into(path, &mut folded);
    folded
}

/// What a store has to ignore to confuse two paths of the same folded form. A store that ignores one of
/// these kinds of differences may not ignore another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Difference {
    backslash: bool,
    name_end: bool,
    case: bool,
    normalization: bool,
    ascii: bool,
}

impl Difference {
    pub(crate) fn between(a: &str, b: &str) -> Difference {
        let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
        let slashes = |path: &str| path.replace('\\', "/");
        let ends = |path: &str| {
            let path = slashes(path);
            let names = path.split('/').map(|name| name.trim_end_matches(['.', ' ']));
            names.collect::<Vec<_>>().join("/")
        };
        let (a_ends, b_ends) = (ends(a), ends(b));
        Difference {
            backslash: slashes(a) != a || slashes(b) != b,
            name_end: a_ends != slashes(a) || b_ends != slashes(b),
            case: nfkd.normalize(&a_ends) != nfkd.normalize(&b_ends),
            normalization: fold_case(&a_ends) != fold_case(&b_ends),
            ascii: a.is_ascii() && b.is_ascii(),
        }
    }
}

/// Hashes of folded paths.
#[derive(Default)]
pub(crate) struct FoldHasher {
    hasher: RandomState,
    folded: String,
}

impl FoldHasher {
    pub(crate) fn hash(&mut self, path: &str) -> u64 {
        self.folded.clear();
        fold_into(path, &mut self.folded);
        self.hasher.hash_one(&*self.folded)
    }
}

fn fold_into(path: &str, folded: &mut String) {
    if path.is_ascii() {
        fold_ends(path, folded);
    } else {
        let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
        fold_ends(&nfkd.normalize(&fold_case(&nfkd.normalize(path))), folded);
    }
}

/// Folds everything but Unicode.
fn fold_ends(path: &str, folded: &mut String) {
    for segment in path.split(['/', '\\']) {
        let name = segment.trim_end_matches(['.', ' ']);
        if !name.is_empty() {
            folded.push_str(name);
            folded.push('/');
        }
    }
    folded.pop();
    folded.make_ascii_lowercase();
}

/// Maps all characters that have a common lower-case or upper-case form to the same one: `ß`, `ẞ` and
/// `SS` as well as `ı` and `I`.
fn fold_case(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_have_the_same_folded_form() {
        for spellings in [
            &[
                "d/IMG.JPG",
                "D/img.jpg",
                "d\\Img.Jpg",
                "d /img.jpg. ",
                "d./IMG.JPG..",
                "d\\\\img.jpg",
            ][..],
            &["Caf\u{e9}", "cafe\u{301}", "CAF\u{c9}", "CAFE\u{301}", "caf\u{e9} ."],
            &["stra\u{df}e", "STRASSE", "STRA\u{1e9e}E"],
            &["\u{3c3}\u{3c2}", "\u{3a3}\u{3a3}"],
            &["I", "i", "\u{131}"],
            &["\u{212a}", "k", "K"],
            &["\u{fb01}", "fi", "FI"],
        ] {
            for spelling in spellings {
                assert_eq!(folded(spelling), folded(spellings[0]), "{spelling}");
            }
        }
    }

    #[test]
    fn different_names_have_different_folded_forms() {
        let paths =
            ["a", "b", "a/b", "a-b", "ab", "a.b", "a b", ".a", " a", "a/b/c", "e", "\u{e9}", "_"];
        for (n, a) in paths.iter().enumerate() {
            assert!(paths[n + 1..].iter().all(|b| folded(a) != folded(b)), "{a}");
        }
    }

    #[test]
    fn kinds_of_differences_are_told_apart() {
        let pairs = [
            ("IMG", "img"),
            ("CAF\u{c9}", "caf\u{e9}"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("a", "a."),
            ("a\\b", "a/b"),
            ("A\\b", "a/b"),
        ];
        for (n, (a, b)) in pairs.iter().enumerate() {
            let difference = Difference::between(a, b);
            assert_eq!(difference, Difference::between(b, a));
            for (c, d) in &pairs[n + 1..] {
                assert_ne!(difference, Difference::between(c, d), "{a} {b}, {c} {d}");
            }
        }
        assert_eq!(Difference::between("x/A", "x/a"), Difference::between("Photos/b", "photos/b"));
    }

    #[test]
    fn folding_ignores_the_case_of_every_letter() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_lowercase() || c.is_uppercase()) {
            let text = c.to_string();
            let form = folded(&text);
            assert_eq!(folded(&text.to_lowercase()), form, "{c:?}");
            assert_eq!(folded(&text.to_uppercase()), form, "{c:?}");
            assert_eq!(folded(&form), form, "{c:?}");
        }
    }
}
