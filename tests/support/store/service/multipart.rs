//! Multipart uploads: from their creation to their completion or abortion.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use s3s::{
    S3Request, S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::{
    super::{
        body::read_verified,
        checksum::{
            Checksum, DEFAULT_ALGORITHM, algorithm, checksum_field, digest, hex, md5, set_checksum,
        },
        object::Object,
        server::Shared,
        state::{Part, State, Upload},
        time::whole_seconds,
    },
    malformed_xml,
    objects::{check_write, stored_encoding},
};

pub(super) fn create(
    store: &Shared,
    input: dto::CreateMultipartUploadInput,
) -> S3Result<dto::CreateMultipartUploadOutput> {
    let mut upload = Upload::new(&input.key);
    upload.algorithm =
        input.checksum_algorithm.as_ref().map(|name| algorithm(name.as_str())).transpose()?;
    upload.composite = match input.checksum_type.as_ref().map(dto::ChecksumType::as_str) {
        None => upload.algorithm.is_some_and(|algorithm| algorithm != "CRC64NVME"),
        Some(kind) => kind == dto::ChecksumType::COMPOSITE,
    };
    let full_only = upload.algorithm == Some("CRC64NVME");
    let composite_only = matches!(upload.algorithm, Some("SHA1" | "SHA256"));
    if upload.algorithm.is_some()
        && (upload.composite && full_only || !upload.composite && composite_only)
    {
        let message =
            "The checksum type requested cannot be used with the specified checksum algorithm.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    upload.content_type = input.content_type;
    upload.content_encoding = stored_encoding(input.content_encoding);
    upload.metadata = input.metadata.unwrap_or_default().into_iter().collect();
    let upload_id = store.state().create_upload(&input.bucket, upload)?;
    Ok(dto::CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload_id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..Default::default()
    })
}

pub(super) async fn upload_part(
    store: &Shared,
    request: S3Request<dto::UploadPartInput>,
) -> S3Result<dto::UploadPartOutput> {
    let S3Request { input, headers, trailing_headers, .. } = request;
    if !(1..=10_000).contains(&input.part_number) {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        return Err(s3_error!(InvalidArgument, "{message}"));
    }
    let expected = store.state().upload(&input.bucket, &input.key, &input.upload_id)?.algorithm;
    let (body, checksum) = read_verified(input.body, &headers, trailing_headers).await?;
    if let (Some(expected), Some(sent)) = (expected, &checksum)
        && expected != sent.algorithm
    {
        let message = "Checksum Type mismatch occurred";
        let (expected, sent) = (expected.to_ascii_lowercase(), sent.algorithm.to_ascii_lowercase());
        return Err(s3_error!(
            InvalidRequest,
            "{message}, expected checksum Type: {expected}, actual checksum Type: {sent}"
        ));
    }
    let checksum = checksum.or_else(|| expected.map(|expected| Checksum::of(expected, &body)));
    let md5 = md5(&body);
    let mut output =
        dto::UploadPartOutput { e_tag: Some(ETag::Strong(hex(&md5))), ..Default::default() };
    set_checksum!(output, &checksum);
    let mut state = store.state();
    let part = Part { body, md5, checksum, last_modified: whole_seconds(state.now()) };
    let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
    upload.parts.insert(input.part_number, part);
    Ok(output)
}

pub(super) fn complete(
    store: &Shared,
    input: dto::CompleteMultipartUploadInput,
) -> S3Result<dto::CompleteMultipartUploadOutput> {
    // Parts are joined and hashed without the lock, so that other threads do not wait for it.
    let (upload, settings) = {
        let mut state = store.state();
        let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?.clone();
        (upload, Settings::of(&state))
    };
    let listed =
        input.multipart_upload.as_ref().and_then(|list| list.parts.as_deref()).unwrap_or_default();
    let mut parts = listed_parts(&upload, listed, &settings)?;
    if let Some(index) = settings.forgotten_part.filter(|index| *index < parts.len()) {
        parts.remove(index);
    }
    let body = Bytes::from(parts.iter().map(|part| &part.body[..]).collect::<Vec<_>>().concat());
    let is_checked = !settings.ignores_headers;
    if is_checked && input.mpu_object_size.is_some_and(|size| size != body.len() as i64) {
        let message =
            "The provided 'x-amz-mp-object-size' header does not match what was computed.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let checksum = object_checksum(&upload, &parts, &body, settings.default_checksum);
    if let Some(checksum) = &checksum
        && is_checked
        && let Some(sent) = checksum_field!(input, checksum.algorithm)
        // A composite checksum may be sent without its number of parts.
        && sent != checksum.value
        && !(checksum.composite && checksum.value.starts_with(&format!("{sent}-")))
    {
        let algorithm = checksum.algorithm;
        return Err(s3_error!(
            BadDigest,
            "The {algorithm} you specified did not match the calculated checksum."
        ));
    }
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    let object = Object {
        body,
        // S3 sets the time at which the upload started, not that of its completion.
        last_modified: upload.initiated,
        etag: format!("{}-{}", hex(&md5(&digests)), parts.len()),
        checksum,
        content_type: upload.content_type.clone(),
        content_encoding: upload.content_encoding.clone(),
        metadata: upload.metadata.clone(),
        archive: None,
    };

    let mut state = store.state();
    // Another request may have completed or aborted the upload meanwhile.
    state.upload(&input.bucket, &input.key, &input.upload_id)?;
    state.check_conflict(&input.bucket, &input.key)?;
    let bucket = state.bucket(&input.bucket)?;
    let existing = bucket.objects.get(&input.key);
    check_write(existing, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    bucket.uploads.remove(&(input.key.clone(), upload.number));
    let mut output = dto::CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        checksum_type: object.checksum.as_ref().map(Checksum::kind),
        ..Default::default()
    };
    set_checksum!(output, &object.checksum);
    let key = state.written_key(&input.bucket, input.key);
    state.bucket(&input.bucket)?.objects.insert(key, object);
    Ok(output)
}

pub(super) fn abort(
    store: &Shared,
    input: dto::AbortMultipartUploadInput,
) -> S3Result<dto::AbortMultipartUploadOutput> {
    let mut state = store.state();
    let number = state.upload(&input.bucket, &input.key, &input.upload_id)?.number;
    state.bucket(&input.bucket)?.uploads.remove(&(input.key, number));
    Ok(dto::AbortMultipartUploadOutput::default())
}

/// The settings of the store for a completion.
struct Settings {
    min_part_size: usize,
    default_checksum: bool,
    forgotten_part: Option<usize>,
    ignores_headers: bool,
    accepts_part_etags: bool,
}

impl Settings {
    fn of(state: &State) -> Settings {
        Settings {
            min_part_size: state.min_part_size,
            default_checksum: state.default_checksum,
            forgotten_part: state.forgotten_part,
            ignores_headers: state.ignores_completion_headers,
            accepts_part_etags: state.accepts_part_etags,
        }
    }
}

/// The parts that a completion lists, if they exist and fulfill S3's conditions.
fn listed_parts<'a>(
    upload: &'a Upload,
    listed: &[dto::CompletedPart],
    settings: &Settings,
) -> S3Result<Vec<&'a Part>> {
    if listed.is_empty() {
        return Err(malformed_xml());
    }
    if !listed.is_sorted_by(|a, b| a.part_number < b.part_number) {
        return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
    }
    let mut parts = Vec::new();
    for (at, listed_part) in listed.iter().enumerate() {
        let invalid = || {
            let message = "One or more of the specified parts could not be found. The part may not \
                           have been uploaded, or the specified entity tag may not match the part's \
                           entity tag.";
            s3_error!(InvalidPart, "{message}")
        };
        let part = listed_part
            .part_number
            .and_then(|number| upload.parts.get(&number))
            .ok_or_else(invalid)?;
        let is_etag = listed_part.e_tag.as_ref().is_some_and(|etag| etag.value() == hex(&part.md5));
        if !is_etag && !settings.accepts_part_etags {
            return Err(invalid());
        }
        if let Some(checksum) = &part.checksum {
            match checksum_field!(listed_part, checksum.algorithm) {
                Some(sent) if sent != checksum.value => return Err(invalid()),
                None if upload.composite && upload.algorithm.is_some() => {
                    let message = "The upload was created using a checksum, so the complete \
                                   request must include the checksum for each part.";
                    return Err(s3_error!(InvalidRequest, "{message}"));
                }
                _ => {}
            }
        }
        if at + 1 < listed.len() && part.body.len() < settings.min_part_size {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// The checksum of the object that an upload becomes.
fn object_checksum(
    upload: &Upload,
    parts: &[&Part],
    body: &[u8],
    default_checksum: bool,
) -> Option<Checksum> {
    match upload.algorithm {
        None => default_checksum.then(|| Checksum::of(DEFAULT_ALGORITHM, body)),
        Some(algorithm) if !upload.composite => Some(Checksum::of(algorithm, body)),
        Some(algorithm) => {
            let digests: Vec<u8> =
                parts.iter().flat_map(|part| digest(algorithm, &part.body)).collect();
            let value = format!("{}-{}", BASE64.encode(digest(algorithm, &digests)), parts.len());
            Some(Checksum { algorithm, value, composite: true })
        }
    }
}
