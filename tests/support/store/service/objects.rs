//! The operations on objects, and the conditions and ranges of requests for them.

use std::ops::Range;

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    dto::{self, ETag, ETagCondition},
    s3_error,
};

use super::{
    super::{
        archive::Archive,
        body::read_verified,
        checksum::{Checksum, DEFAULT_ALGORITHM, hex, md5, set_checksum},
        object::Object,
        server::Shared,
        time::whole_seconds,
    },
    malformed_xml,
};

/// The largest number of keys that S3 accepts in one DeleteObjects.
const MAX_DELETE_BATCH: usize = 1000;

pub(super) async fn put(
    store: &Shared,
    request: S3Request<dto::PutObjectInput>,
) -> S3Result<dto::PutObjectOutput> {
    let S3Request { input, headers, trailing_headers, .. } = request;
    store.state().bucket(&input.bucket)?;
    let (body, checksum) = read_verified(input.body, &headers, trailing_headers).await?;
    let etag = hex(&md5(&body));
    let mut state = store.state();
    let default = state.default_checksum.then(|| Checksum::of(DEFAULT_ALGORITHM, &body));
    let object = Object {
        body,
        last_modified: whole_seconds(state.now()),
        etag,
        checksum: checksum.or(default),
        content_type: input.content_type,
        content_encoding: stored_encoding(input.content_encoding),
        metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        archive: None,
    };

    state.check_conflict(&input.bucket, &input.key)?;
    let existing = state.found_key(&input.bucket, &input.key, false);
    let existing = state.bucket(&input.bucket)?.objects.get(&existing);
    check_write(existing, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let mut output = dto::PutObjectOutput {
        e_tag: Some(ETag::Strong(object.etag.clone())),
        ..Default::default()
    };
    set_checksum!(output, &object.checksum);
    output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
    let key = state.written_key(&input.bucket, input.key);
    state.bucket(&input.bucket)?.objects.insert(key, object);
    Ok(output)
}

pub(super) fn get(store: &Shared, input: dto::GetObjectInput) -> S3Result<dto::GetObjectOutput> {
    if input.part_number.is_some() {
        return Err(s3_error!(NotImplemented, "This store cannot return single parts."));
    }
    let object = store.state().object(&input.bucket, &input.key)?;
    check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    object.archive.iter().try_for_each(Archive::check_read)?;
    let (range, content_range) = requested_range(&object, input.range)?;
    let body = object.body.slice(range);
    let mut output = dto::GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(body.len() as i64),
        content_range,
        content_type: Some(object.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())),
        content_encoding: object.content_encoding,
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(object.last_modified.into()),
        metadata: Some(object.metadata.into_iter().collect()),
        restore: object.archive.as_ref().and_then(Archive::restore),
        storage_class: object.archive.as_ref().map(Archive::class),
        body: Some(dto::StreamingBlob::from(s3s::Body::from(body))),
        ..Default::default()
    };
    // The checksum covers the whole object, so it is not sent with a range.
    if input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED")
        && output.content_range.is_none()
    {
        set_checksum!(output, &object.checksum);
        output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
    }
    Ok(output)
}

pub(super) fn head(store: &Shared, input: dto::HeadObjectInput) -> S3Result<dto::HeadObjectOutput> {
    let object = store.state().object(&input.bucket, &input.key)?;
    check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let (range, content_range) = requested_range(&object, input.range)?;
    let mut output = dto::HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(range.len() as i64),
        content_range,
        content_type: Some(object.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())),
        content_encoding: object.content_encoding,
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(object.last_modified.into()),
        metadata: Some(object.metadata.into_iter().collect()),
        restore: object.archive.as_ref().and_then(Archive::restore),
        storage_class: object.archive.as_ref().map(Archive::class),
        ..Default::default()
    };
    if input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED")
        && output.content_range.is_none()
    {
        set_checksum!(output, &object.checksum);
        output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
    }
    Ok(output)
}

pub(super) fn delete(
    store: &Shared,
    input: dto::DeleteObjectInput,
) -> S3Result<dto::DeleteObjectOutput> {
    let mut state = store.state();
    let is_denied = state.undeletable.contains(&input.key);
    let key = state.found_key(&input.bucket, &input.key, false);
    state.remembered.remove(&input.key);
    let bucket = state.bucket(&input.bucket)?;
    if is_denied {
        return Err(s3_error!(AccessDenied, "Access Denied"));
    }
    // Deleting an object that does not exist succeeds, as in S3.
    bucket.objects.remove(&key);
    Ok(dto::DeleteObjectOutput::default())
}

pub(super) fn delete_batch(
    store: &Shared,
    input: dto::DeleteObjectsInput,
) -> S3Result<dto::DeleteObjectsOutput> {
    let dto::DeleteObjectsInput { bucket, delete, .. } = input;
    if delete.objects.is_empty() || delete.objects.len() > MAX_DELETE_BATCH {
        return Err(malformed_xml());
    }
    let mut state = store.state();
    state.bucket(&bucket)?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in delete.objects {
        if state.undeletable.contains(&object.key) {
            errors.push(dto::Error {
                key: Some(object.key),
                code: Some("AccessDenied".to_owned()),
                message: Some("Access Denied".to_owned()),
                version_id: None,
            });
            continue;
        }
        let key = state.found_key(&bucket, &object.key, false);
        state.remembered.remove(&object.key);
        state.bucket(&bucket)?.objects.remove(&key);
        if delete.quiet != Some(true) {
            deleted.push(dto::DeletedObject { key: Some(object.key), ..Default::default() });
        }
    }
    Ok(dto::DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        ..Default::default()
    })
}

fn matches(object: &Object, condition: &ETagCondition) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == object.etag)
}

/// Checks the If-Match and If-None-Match of a read.
fn check_read(
    object: &Object,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if if_match.is_some_and(|condition| !matches(object, condition)) {
        return Err(precondition_failed());
    }
    if if_none_match.is_some_and(|condition| matches(object, condition)) {
        return Err(S3Error::new(S3ErrorCode::NotModified));
    }
    Ok(())
}

/// Checks the If-Match and If-None-Match of a write.
pub(super) fn check_write(
    existing: Option<&Object>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    match (if_match, existing) {
        (Some(_), None) => return Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        (Some(condition), Some(object)) if !matches(object, condition) => {
            return Err(precondition_failed());
        }
        _ => {}
    }
    match (if_none_match, existing) {
        (Some(condition), Some(object)) if matches(object, condition) => Err(precondition_failed()),
        _ => Ok(()),
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

/// The bytes to send, and the Content-Range if the request asks for a range.
fn requested_range(
    object: &Object,
    range: Option<dto::Range>,
) -> S3Result<(Range<usize>, Option<String>)> {
    let length = object.body.len() as u64;
    let Some(range) = range else { return Ok((0..object.body.len(), None)) };
    let range = range
        .check(length)
        .map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable"))?;
    let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    Ok((range.start as usize..range.end as usize, Some(content_range)))
}

/// The Content-Encoding that S3 keeps: without `aws-chunked`, which describes only the transfer.
pub(super) fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let stored: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    (!stored.is_empty()).then(|| stored.join(","))
}
