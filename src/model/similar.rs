//! Names that a wrong one may be a typing error for.

/// How similar two names must be, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.8;

/// How many names are suggested.
const SUGGESTED: usize = 3;

/// The names that `wrong` is most probably a typing error for, the most similar one first.
pub(crate) fn similar<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wrong = wrong.to_lowercase();
    // The end of a directory's name is no part of it.
    let name_of = |name: &str| name.strip_suffix('/').unwrap_or(name).to_lowercase();
    let similarity = |name: &str| strsim::jaro_winkler(&wrong, &name_of(name));
    let mut similar: Vec<(f64, &str)> = names.map(|name| (similarity(name), name)).collect();
    similar.retain(|(similarity, _)| *similarity >= MIN_SIMILARITY);
    similar.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    similar.into_iter().take(SUGGESTED).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_similar_names_come_first_whatever_their_case_is() {
        let names = ["photos/", "photo/", "music/", "PHOTOS-2/", "phots.txt"];
        assert_eq!(similar("Photos", names.into_iter()), ["photos/", "photo/", "PHOTOS-2/"]);
        assert_eq!(similar("2024", ["2024-01/", "x"].into_iter()), ["2024-01/"]);
        assert!(similar("videos", ["music/", "a"].into_iter()).is_empty());
        assert!(similar("a", [].into_iter()).is_empty());
    }
}
