//! Deleting objects.
//!
//! A store may refuse DeleteObjects, limit it to fewer keys than AWS, or respond in a way that does not
//! show which keys were deleted. The batch is then made smaller, at last a single DELETE for each key,
//! also in later requests. A key counts as deleted only if a response says so.

use std::collections::{HashMap, HashSet};

use crate::{
    error::{Cause, Error, Result, s3_code::NO_SUCH_KEY},
    s3::{
        checksum::{Hasher, base64},
        client::Client,
        payload::Payload,
        quirks::KeyEncoding,
        request::S3Request,
        request_bodies::{delete_objects, fits_xml},
        responses::{
            delete::{DeleteResult, parse_deleted},
            error::check_success,
            url_encoding::decode,
        },
    },
};

/// The sizes of batches for stores that refuse larger ones.
const SMALLER_BATCHES: [usize; 2] = [100, 10];

/// So much of the body of a response to a DELETE is read, in bytes.
const MAX_BODY: u64 = 64 << 10;

/// So many responses to one batch may be something else than a response to DeleteObjects. A proxy may
/// have caused the first one.
const MAX_MALFORMED: u32 = 1;

impl Client {
    /// The most keys that [`delete`](Client::delete) sends in one request.
    pub(crate) fn max_delete_batch(&self) -> usize {
        self.quirks.max_delete_batch()
    }

    /// Deletes objects: up to [`max_delete_batch`](Client::max_delete_batch) of them. Returns the
    /// outcome of each key, in order. An object that does not exist counts as deleted.
    ///
    /// `None`: the store did not accept a batch of this size, and it is unknown whether the object was
    /// deleted. The caller repeats these keys, in batches of the size that is allowed by now.
    pub(crate) fn delete(&self, keys: &[&str]) -> Vec<Option<Result<()>>> {
        let is_single = |key: &str| self.max_delete_batch() == 1 || !fits_xml(key);
        let (single, batched): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&n| is_single(keys[n]));
        let mut outcomes: Vec<Option<Result<()>>> = keys.iter().map(|_| None).collect();
        for n in single {
            outcomes[n] = Some(self.delete_one(keys[n]));
        }
        if !batched.is_empty() {
            let batch: Vec<&str> = batched.iter().map(|&n| keys[n]).collect();
            for (n, outcome) in batched.into_iter().zip(self.delete_batch(&batch)) {
                outcomes[n] = outcome;
            }
        }
        outcomes
    }

    fn delete_one(&self, key: &str) -> Result<()> {
        let delete_once = || {
            let body = self.send(&S3Request::new("DELETE", Some(key)))?.text(MAX_BODY)?;
            confirmed(&body)
        };
        self.retry("delete", key, || match delete_once() {
            // Some stores report a missing object. An earlier try may have deleted it.
            Err(cause) if cause.is_s3(NO_SUCH_KEY) => Ok(()),
            other => other,
        })
    }

    fn delete_batch(&self, keys: &[&str]) -> Vec<Option<Result<()>>> {
        let mut outcomes: HashMap<&str, Result<()>> = HashMap::new();
        let mut pending: Vec<&str> = keys.to_vec();
        let mut malformed = 0;
        let tried = self.retry("delete", "", || {
            let results = match self.delete_batch_once(&pending) {
                Ok(results) => results,
                Err(cause) if is_refused(&cause) => {
                    return Ok(Some(smaller_batch(pending.len(), &cause)));
                }
                Err(Cause::Malformed(_)) if malformed == MAX_MALFORMED => return Ok(Some(1)),
                Err(cause) => {
                    malformed += u32::from(matches!(cause, Cause::Malformed(_)));
                    return Err(cause);
                }
            };
            let (mut retryable, mut is_unclear) = (None, false);
            for (key, outcome) in pending.iter().zip(results) {
                let outcome = match outcome {
                    None => {
                        is_unclear = true;
                        continue;
                    }
                    Some(Err(cause)) if cause.is_retryable() => {
                        retryable = Some(cause);
                        continue;
                    }
                    Some(Err(cause)) if cause.is_s3(NO_SUCH_KEY) => Ok(()),
                    Some(other) => {
                        other.map_err(|cause| Error::new("delete", *key, self.with_server(cause)))
                    }
                };
                outcomes.insert(key, outcome);
            }
            pending.retain(|key| !outcomes.contains_key(key));
            match retryable {
                _ if is_unclear => Ok(Some(1)),
                Some(cause) => Err(cause),
                None => Ok(None),
            }
        });
        let failed = match tried {
            Ok(limit) => {
                limit.into_iter().for_each(|limit| self.quirks.limit_delete_batch(limit));
                None
            }
            Err(error) => Some(error),
        };
        let outcomes = keys.iter().map(|key| {
            let failed = || failed.clone().map(|error| Err(error.of_path(key)));
            outcomes.remove(key).or_else(failed)
        });
        outcomes.collect()
    }

    /// Sends one request. Returns the outcome of each key, in order: `None` where the response does
    /// not contain it.
    fn delete_batch_once(&self, keys: &[&str]) -> Result<Vec<Option<Result<(), Cause>>>, Cause> {
        let body = delete_objects(keys);
        let mut md5 = Hasher::md5();
        md5.update(body.as_bytes());
        let mut request = S3Request::new("POST", None)
            .query(&[("delete", "")])
            .payload(Payload::Bytes(body.as_bytes()));
        request.headers.push(("content-md5", base64(&md5.finish())));
        let result = decoded(parse_deleted(&self.send(&request)?.xml()?)?, keys);
        let deleted: HashSet<&str> = result.deleted.iter().map(String::as_str).collect();
        let failed = result.failed.into_iter().map(|failed| {
            let (code, message) = (failed.code, failed.message);
            (failed.key, Cause::S3 { status: 200, code, message, retry_after: None })
        });
        let mut failed: HashMap<String, Cause> = failed.collect();
        let outcome = |key: &&str| match failed.remove(*key) {
            _ if deleted.contains(key) => Some(Ok(())),
            failure => failure.map(Err),
        };
        Ok(keys.iter().map(outcome).collect())
    }
}

/// Checks the body of a response to a DELETE. It is empty. A proxy may respond with a page of its own.
fn confirmed(body: &str) -> Result<(), Cause> {
    if body.to_ascii_lowercase().contains("<html") {
        return Err(Cause::Malformed("DeleteObject with an HTML page".to_owned()));
    }
    check_success(body)
}

/// Whether the store refuses the batch as a whole, so that it may accept a smaller one or single
/// requests. If the permission is missing, these show it for each key.
fn is_refused(cause: &Cause) -> bool {
    let Cause::S3 { status, .. } = cause else { return false };
    matches!(status, 200 | 400..=499 | 501) && !cause.is_retryable() && !cause.is_fatal()
}

/// The size of the batches after one of `len` keys was refused because of `cause`.
fn smaller_batch(len: usize, cause: &Cause) -> usize {
    let Cause::S3 { status, code, message, .. } = cause else { return 1 };
    let message = message.to_ascii_lowercase();
    let is_too_large = *status == 413
        || ["MalformedXML", "EntityTooLarge", "MaxMessageLengthExceeded"].contains(&code.as_str())
        || code.starts_with("TooMany")
        || ["too many", "too large", "maximum", "limit", "exceed", "at most"]
            .iter()
            .any(|word| message.contains(word));
    let smaller = SMALLER_BATCHES.into_iter().find(|smaller| *smaller < len);
    smaller.filter(|_| is_too_large).unwrap_or(1)
}

/// The result with plain keys. Some stores encode them like those of a listing: this is so if only the
/// decoded keys are all among those of the request.
fn decoded(result: DeleteResult, keys: &[&str]) -> DeleteResult {
    let requested: HashSet<&str> = keys.iter().copied().collect();
    let answered = || {
        let failed = result.failed.iter().map(|failed| &failed.key);
        result.deleted.iter().chain(failed)
    };
    let plain = |key: &String, encoding| decode(key.clone(), encoding).ok();
    let fits = |encoding: &KeyEncoding| {
        let mut answered = answered().map(|key| plain(key, *encoding));
        answered.all(|key| key.is_some_and(|key| requested.contains(key.as_str())))
    };
    let Some(encoding) = KeyEncoding::ALL.into_iter().find(fits) else { return result };
    let DeleteResult { deleted, mut failed } = result;
    let deleted = deleted.iter().filter_map(|key| plain(key, encoding)).collect();
    for failed in &mut failed {
        failed.key = plain(&failed.key, encoding).unwrap_or_default();
    }
    DeleteResult { deleted, failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(keys: &[&str]) -> DeleteResult {
        let deleted = keys.iter().map(|key| key.to_string()).collect();
        DeleteResult { deleted, failed: Vec::new() }
    }

    #[test]
    fn encoded_keys_of_a_response_are_decoded() {
        for (keys, answered, expected) in [
            (["a b", "c"], ["a+b", "c"], ["a b", "c"]),
            (["a b", "c+d"], ["a%20b", "c+d"], ["a b", "c+d"]),
            (["a b", "a%20b"], ["a%20b", "a%2520b"], ["a b", "a%20b"]),
            (["a%20b", "c+d"], ["a%20b", "c+d"], ["a%20b", "c+d"]),
            // Keys that were not requested.
            (["a b", "c"], ["a+b", "x"], ["a+b", "x"]),
        ] {
            assert_eq!(decoded(answer(&answered), &keys), answer(&expected), "{answered:?}");
        }
    }

    #[test]
    fn batches_become_smaller_only_if_that_may_help() {
        let refused = |status, code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            Cause::S3 { status, code, message, retry_after: None }
        };
        for (len, status, code, message, smaller) in [
            (1_000, 400, "MalformedXML", "", 100),
            (100, 400, "MalformedXML", "", 10),
            (10, 400, "MalformedXML", "", 1),
            (900, 400, "InvalidRequest", "Too many keys", 100),
            (900, 413, "", "", 100),
            (900, 501, "NotImplemented", "", 1),
            (900, 403, "AccessDenied", "", 1),
        ] {
            let cause = refused(status, code, message);
            assert!(is_refused(&cause));
            assert_eq!(smaller_batch(len, &cause), smaller, "{len} {code}");
        }
        for (status, code) in [(503, "SlowDown"), (404, "NoSuchBucket"), (301, ""), (500, "")] {
            assert!(!is_refused(&refused(status, code, "")), "{code}");
        }
    }
}
