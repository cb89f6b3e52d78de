//! Deleting objects.

use std::collections::{HashMap, HashSet};

use crate::{
    error::{Cause, Error, Result, s3_code::NO_SUCH_KEY},
    s3::{
        checksum::{Hasher, base64},
        client::Client,
        payload::Payload,
        request::S3Request,
        request_bodies::{delete_objects, fits_xml},
        responses::delete::parse_deleted,
    },
};

/// The most keys of one DeleteObjects request
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
pub(crate) const MAX_DELETE_BATCH: usize = 1_000;

impl Client {
    /// Deletes up to [`MAX_DELETE_BATCH`] objects. Returns the outcome of each key, in order. An
    /// object that does not exist counts as deleted.
    pub(crate) fn delete(&self, keys: &[&str]) -> Vec<Result<()>> {
        let (batched, single): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&n| fits_xml(keys[n]));
        let mut outcomes: Vec<Option<Result<()>>> = keys.iter().map(|_| None).collect();
        for n in single {
            outcomes[n] = Some(self.delete_one(keys[n]));
        }
        if !batched.is_empty() {
            let batch: Vec<&str> = batched.iter().map(|&n| keys[n]).collect();
            for (n, outcome) in batched.into_iter().zip(self.delete_batch(&batch)) {
                outcomes[n] = Some(outcome);
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(Error::interrupted())))
            .collect()
    }

    fn delete_one(&self, key: &str) -> Result<()> {
        let delete_once = || self.send(&S3Request::new("DELETE", Some(key)))?.drain();
        self.retry("delete", key, || match delete_once() {
            // Some stores report a missing object. An earlier try may have deleted it.
            Err(cause) if cause.is_s3(NO_SUCH_KEY) => Ok(()),
            other => other,
        })
    }

    fn delete_batch(&self, keys: &[&str]) -> Vec<Result<()>> {
        let mut outcomes: HashMap<&str, Result<()>> = HashMap::new();
        let mut pending: Vec<&str> = keys.to_vec();
        let tried = self.retry("delete", "", || {
            let mut retryable = None;
            for (key, outcome) in pending.iter().zip(self.delete_batch_once(&pending)?) {
                let outcome = match outcome {
                    Err(cause) if cause.is_retryable() => {
                        retryable = Some(cause);
                        continue;
                    }
                    Err(cause) if cause.is_s3(NO_SUCH_KEY) => Ok(()),
                    other => other.map_err(|cause| Error::new("delete", *key, cause)),
                };
                outcomes.insert(key, outcome);
            }
            pending.retain(|key| !outcomes.contains_key(key));
            retryable.map_or(Ok(()), Err)
        });
        let failed = tried.err().unwrap_or_else(Error::interrupted);
        keys.iter()
            .map(|key| outcomes.remove(key).unwrap_or_else(|| Err(failed.clone().of_path(key))))
            .collect()
    }

    /// Sends one request. Returns the outcome of each key, in order.
    fn delete_batch_once(&self, keys: &[&str]) -> Result<Vec<Result<(), Cause>>, Cause> {
        let body = delete_objects(keys);
        let mut md5 = Hasher::md5();
        md5.update(body.as_bytes());
        let mut request = S3Request::new("POST", None)
            .query(&[("delete", "")])
            .payload(Payload::Bytes(body.as_bytes()));
        request.headers.push(("content-md5", base64(&md5.finish())));
        let result = parse_deleted(&self.send(&request)?.xml()?)?;
        let deleted: HashSet<&str> = result.deleted.iter().map(String::as_str).collect();
        let outcome = |key: &&str| match result.failed.iter().find(|failed| failed.key == **key) {
            _ if deleted.contains(key) => Ok(()),
            Some(failed) => Err(Cause::S3 {
                status: 200,
                code: failed.code.clone(),
                message: failed.message.clone(),
                retry_after: None,
            }),
            None => Err(Cause::Malformed("DeleteObjects without a result for this key".to_owned())),
        };
        Ok(keys.iter().map(outcome).collect())
    }
}
