//! Asking the target whether it has an entry under another spelling of its name.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
};

use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result},
    model::{bucket_url::BucketUrl, fold::Difference},
    plan::Candidate,
    s3::{Client, Version},
    worker_pool,
};

/// The candidates that one request is sent for.
struct Question {
    kind: Difference,
    indices: Vec<usize>,
}

/// Asks the store for each file whether it finds the object of the other name. One HEAD for each pair of
/// different names: files below a renamed directory share one.
///
/// The first question of each kind of difference decides whether the others are asked, so a store that does
/// not fold names costs one request for each kind. The remaining files count as different from the
/// objects. That is always safe: they are uploaded, and before the object of the other name is deleted, the
/// bucket is listed again.
///
/// # Errors
/// A request failed with a fatal error, or the run was cancelled.
pub(crate) fn find_same_objects(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    candidates: &[Candidate],
    cancel: &Cancel,
) -> Result<Vec<bool>> {
    let mut by_names: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let names = different_part(&candidate.file.path, &candidate.other);
        by_names.entry(names).or_default().push(index);
    }
    let mut is_same = vec![false; candidates.len()];
    let workers = workers.min(by_names.len());
    if workers == 0 {
        return Ok(is_same);
    }
    let (mut kinds, mut first, mut rest) = (HashSet::new(), Vec::new(), Vec::new());
    for ((a, b), indices) in by_names {
        let kind = Difference::between(a, b);
        let questions = if kinds.insert(kind) { &mut first } else { &mut rest };
        questions.push(Question { kind, indices });
    }
    // The kinds with a question that the store did not answer with the object of the other name.
    let ended: RefCell<HashSet<Difference>> = RefCell::default();
    let fatal: RefCell<Option<Error>> = RefCell::new(None);
    client.start_phase(workers);
    let limit = || client.limit();
    let ask = |question: Question| {
        let candidate = question.indices.first().map(|index| &candidates[*index]);
        let answer = candidate.map(|candidate| is_same_object(client, bucket, candidate));
        (question, answer.unwrap_or(Ok(false)))
    };
    for (questions, is_first) in [(first, true), (rest, false)] {
        let is_open = |question: &Question| !ended.borrow().contains(&question.kind);
        let questions = questions
            .into_iter()
            .filter(is_open)
            .take_while(|_| !cancel.is_cancelled() && fatal.borrow().is_none());
        worker_pool::for_each(workers, &limit, questions, &ask, |(question, answer)| {
            let Question { kind, indices } = question;
            match answer {
                Ok(true) => indices.into_iter().for_each(|index| is_same[index] = true),
                // Once the store has answered a question of a kind, all of them are asked.
                Ok(false) if !is_first => {}
                Ok(false) => _ = ended.borrow_mut().insert(kind),
                Err(error) => {
                    ended.borrow_mut().insert(kind);
                    if error.is_fatal() {
                        fatal.borrow_mut().get_or_insert(error);
                    }
                }
            }
        });
    }
    cancel.check()?;
    fatal.into_inner().map_or(Ok(is_same), Err)
}

fn is_same_object(client: &Client, bucket: &BucketUrl, candidate: &Candidate) -> Result<bool> {
    let object = &candidate.object;
    let head = match client.head(&bucket.key(&object.path)) {
        Err(error) if matches!(error.cause(), Cause::S3 { status: 404, .. }) => return Ok(false),
        head => head?,
    };
    Ok(Version::listed(object).is_described_by(&head))
}

/// Two paths without the names at their ends that are equal.
fn different_part<'a, 'b>(a: &'a str, b: &'b str) -> (&'a str, &'b str) {
    let (mut a, mut b) = (a, b);
    while let (Some((a_dirs, a_name)), Some((b_dirs, b_name))) =
        (a.rsplit_once('/'), b.rsplit_once('/'))
        && a_name == b_name
    {
        (a, b) = (a_dirs, b_dirs);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_renamed_directory_share_the_different_part() {
        assert_eq!(different_part("photos/a/b", "Photos/a/b"), ("photos", "Photos"));
        assert_eq!(different_part("x/photos/a", "x/Photos/a"), ("x/photos", "x/Photos"));
        assert_eq!(different_part("x/a", "x/A"), ("x/a", "x/A"));
        assert_eq!(different_part("x\\a", "x/a"), ("x\\a", "x/a"));
        assert_eq!(different_part("a", "A"), ("a", "A"));
    }
}
