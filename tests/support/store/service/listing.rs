//! Listings, page by page: of objects, of multipart uploads and of their parts.

use std::{cmp::Ordering, collections::BTreeMap, ops::Bound};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::super::{
    ListOrder,
    archive::Archive,
    checksum::{Checksum, checksum_type, hex, set_checksum},
    object::Object,
    server::Shared,
    state::Upload,
};

pub(super) fn objects(
    store: &Shared,
    input: dto::ListObjectsV2Input,
) -> S3Result<dto::ListObjectsV2Output> {
    let encode = encoder(input.encoding_type.as_ref())?;
    let mut state = store.state();
    let (order, page_size) = (state.list_order, state.page_size);
    let mut objects = state.remembered.clone();
    objects.extend(state.bucket(&input.bucket)?.objects.clone());
    let max = page_limit(input.max_keys, page_size)?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(Position::from_token(token)?),
        (None, start_after) => start_after.clone().map(Position::Key),
    };
    let query =
        Query { order, prefix: &prefix, delimiter: delimiter.as_deref(), after: after.as_ref() };
    let (entries, next) = query.page(&objects, max);

    let key_count = entries.len();
    let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::CommonPrefix(prefix) => {
                common_prefixes.push(dto::CommonPrefix { prefix: Some(encode(prefix)) })
            }
            Entry::Object(key, object) => contents.push(dto::Object {
                key: Some(encode(key)),
                size: Some(object.body.len() as i64),
                last_modified: Some(object.last_modified.into()),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                checksum_algorithm: object
                    .checksum
                    .as_ref()
                    .map(|checksum| vec![checksum.algorithm.to_owned().into()]),
                checksum_type: object.checksum.as_ref().map(Checksum::kind),
                storage_class: Some(object.archive.as_ref().map_or_else(
                    || dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD),
                    Archive::listed_class,
                )),
                restore_status: object.archive.as_ref().and_then(Archive::restore_status),
                ..Default::default()
            }),
        }
    }
    Ok(dto::ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(&prefix)),
        delimiter: delimiter.map(|delimiter| encode(&delimiter)),
        start_after: input.start_after.map(|start_after| encode(&start_after)),
        encoding_type: input.encoding_type,
        max_keys: Some(max as i32),
        key_count: Some(key_count as i32),
        is_truncated: Some(next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: next.map(|next| next.token()),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        ..Default::default()
    })
}

/// ListObjects, the first version. Without a delimiter, a page has no NextMarker, like that of S3.
pub(super) fn objects_version_1(
    store: &Shared,
    input: dto::ListObjectsInput,
) -> S3Result<dto::ListObjectsOutput> {
    let has_delimiter = input.delimiter.is_some();
    let page = objects(
        store,
        dto::ListObjectsV2Input {
            bucket: input.bucket,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            max_keys: input.max_keys,
            prefix: input.prefix,
            start_after: input.marker.clone(),
            ..Default::default()
        },
    )?;
    let last = || {
        let key =
            page.contents.iter().flatten().filter_map(|object| object.key.clone()).next_back();
        let prefixes = page.common_prefixes.iter().flatten();
        key.max(prefixes.filter_map(|prefix| prefix.prefix.clone()).next_back())
    };
    Ok(dto::ListObjectsOutput {
        next_marker: if has_delimiter && page.is_truncated == Some(true) { last() } else { None },
        name: page.name,
        prefix: page.prefix,
        delimiter: page.delimiter,
        marker: Some(input.marker.unwrap_or_default()),
        encoding_type: page.encoding_type,
        max_keys: page.max_keys,
        is_truncated: page.is_truncated,
        contents: page.contents,
        common_prefixes: page.common_prefixes,
        ..Default::default()
    })
}

pub(super) fn uploads(
    store: &Shared,
    input: dto::ListMultipartUploadsInput,
) -> S3Result<dto::ListMultipartUploadsOutput> {
    if input.delimiter.is_some() {
        return Err(s3_error!(NotImplemented, "This store cannot list uploads by a delimiter."));
    }
    let encode = encoder(input.encoding_type.as_ref())?;
    let mut state = store.state();
    let max = page_limit(input.max_uploads, state.page_size)?;
    let uploads = &state.bucket(&input.bucket)?.uploads;
    let prefix = input.prefix.unwrap_or_default();
    let key_marker = input.key_marker.unwrap_or_default();
    // A key marker without an upload id marker skips all uploads to that key.
    let id_marker = input.upload_id_marker.unwrap_or_default();
    let number = uploads
        .values()
        .find(|upload| upload.id == id_marker)
        .map_or(u64::MAX, |upload| upload.number);
    let after = (key_marker.clone(), number);
    let mut rest = uploads
        .iter()
        .filter(|(position, upload)| {
            upload.key.starts_with(&prefix) && (key_marker.is_empty() || **position > after)
        })
        .map(|(_, upload)| upload);
    let page: Vec<&Upload> = rest.by_ref().take(max).collect();
    let next = page.last().filter(|_| rest.next().is_some());
    Ok(dto::ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(encode(&prefix)),
        key_marker: Some(encode(&key_marker)),
        upload_id_marker: Some(id_marker),
        encoding_type: input.encoding_type,
        max_uploads: Some(max as i32),
        is_truncated: Some(next.is_some()),
        next_key_marker: next.map(|upload| encode(&upload.key)),
        next_upload_id_marker: next.map(|upload| upload.id.clone()),
        uploads: Some(page.iter().map(|upload| describe(upload, encode(&upload.key))).collect()),
        ..Default::default()
    })
}

pub(super) fn parts(store: &Shared, input: dto::ListPartsInput) -> S3Result<dto::ListPartsOutput> {
    let mut state = store.state();
    let max = page_limit(input.max_parts, state.page_size)?;
    let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let mut rest = upload.parts.range((Bound::Excluded(marker), Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(max).collect();
    let next = page.last().map(|(number, _)| **number).filter(|_| rest.next().is_some());
    let parts = page.into_iter().map(|(number, part)| {
        let mut listed = dto::Part {
            part_number: Some(*number),
            size: Some(part.body.len() as i64),
            e_tag: Some(ETag::Strong(hex(&part.md5))),
            last_modified: Some(part.last_modified.into()),
            ..Default::default()
        };
        set_checksum!(listed, &part.checksum);
        listed
    });
    let parts = Some(parts.collect());
    let description = describe(upload, input.key);
    Ok(dto::ListPartsOutput {
        bucket: Some(input.bucket),
        key: description.key,
        upload_id: description.upload_id,
        checksum_algorithm: description.checksum_algorithm,
        checksum_type: description.checksum_type,
        storage_class: description.storage_class,
        part_number_marker: Some(marker),
        max_parts: Some(max as i32),
        is_truncated: Some(next.is_some()),
        next_part_number_marker: next,
        parts,
        ..Default::default()
    })
}

/// An upload, as listings describe it.
fn describe(upload: &Upload, key: String) -> dto::MultipartUpload {
    dto::MultipartUpload {
        key: Some(key),
        upload_id: Some(upload.id.clone()),
        initiated: Some(upload.initiated.into()),
        checksum_algorithm: upload.algorithm.map(dto::ChecksumAlgorithm::from_static),
        checksum_type: upload.algorithm.map(|_| checksum_type(upload.composite)),
        storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        ..Default::default()
    }
}

/// The characters that S3 leaves unchanged with `encoding-type=url`. A space becomes `+`.
const UNENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// Returns the encoding of keys and prefixes that a listing asks for.
fn encoder(encoding: Option<&dto::EncodingType>) -> S3Result<impl Fn(&str) -> String + use<>> {
    let url = match encoding.map(dto::EncodingType::as_str) {
        None => false,
        Some("url") => true,
        Some(_) => {
            return Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request"));
        }
    };
    Ok(move |text: &str| {
        if url {
            utf8_percent_encode(text, UNENCODED).to_string().replace(' ', "+")
        } else {
            text.to_owned()
        }
    })
}

/// The number of entries on a page: as requested, but at most `page_size`.
fn page_limit(requested: Option<i32>, page_size: usize) -> S3Result<usize> {
    match requested.map(usize::try_from) {
        None => Ok(page_size),
        Some(Ok(requested)) => Ok(requested.min(page_size)),
        Some(Err(_)) => Err(s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )),
    }
}

/// The last entry of a page: the next page starts after it.
#[derive(Clone, Debug, PartialEq)]
enum Position {
    Key(String),
    /// A common prefix: the next page starts after all keys below it.
    CommonPrefix(String),
}

impl Position {
    fn text(&self) -> &str {
        let (Position::Key(text) | Position::CommonPrefix(text)) = self;
        text
    }

    /// A continuation token. Like S3's, it contains characters that a query has to encode.
    fn token(&self) -> String {
        let kind = if matches!(self, Position::Key(_)) { 'k' } else { 'p' };
        format!("1+/{}=", BASE64.encode(format!("{kind}{}", self.text())))
    }

    fn from_token(token: &str) -> S3Result<Position> {
        let parse = || {
            let bytes = BASE64.decode(token.strip_prefix("1+/")?.strip_suffix('=')?).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            match text.split_at_checked(1)? {
                ("k", key) => Some(Position::Key(key.to_owned())),
                ("p", prefix) => Some(Position::CommonPrefix(prefix.to_owned())),
                _ => None,
            }
        };
        parse().ok_or_else(|| {
            s3_error!(InvalidArgument, "The continuation token provided is incorrect")
        })
    }
}

enum Entry<'a> {
    Object(&'a str, &'a Object),
    CommonPrefix(&'a str),
}

/// The part of a bucket that a ListObjectsV2 asks for.
struct Query<'a> {
    order: ListOrder,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    after: Option<&'a Position>,
}

impl<'a> Query<'a> {
    /// At most `max` entries and, if there are more, the position after which they start.
    fn page(
        &self,
        objects: &'a BTreeMap<String, Object>,
        max: usize,
    ) -> (Vec<Entry<'a>>, Option<Position>) {
        let mut common_prefix = match self.after {
            Some(Position::CommonPrefix(prefix)) => Some(prefix.as_str()),
            _ => None,
        };
        let mut entries = Vec::new();
        let mut last = None;
        for (key, object) in self.keys(objects) {
            if common_prefix.is_some_and(|prefix| key.starts_with(prefix)) {
                continue;
            }
            if entries.len() == max {
                // With a `max` of 0, `last` is None: the listing is complete.
                return (entries, last);
            }
            let prefix = self.prefix.len();
            let rest = &key[prefix..];
            match self.delimiter.and_then(|delim| Some(rest.find(delim)? + delim.len())) {
                Some(end) => {
                    let found = &key[..prefix + end];
                    common_prefix = Some(found);
                    last = Some(Position::CommonPrefix(found.to_owned()));
                    entries.push(Entry::CommonPrefix(found));
                }
                None => {
                    last = Some(Position::Key(key.clone()));
                    entries.push(Entry::Object(key, object));
                }
            }
        }
        (entries, None)
    }

    /// The objects with the prefix whose keys sort after the position, in order.
    fn keys(
        &self,
        objects: &'a BTreeMap<String, Object>,
    ) -> Box<dyn Iterator<Item = (&'a String, &'a Object)> + 'a> {
        let prefix = self.prefix;
        let after = self.after.map_or("", Position::text);
        match self.order {
            ListOrder::Bytes => {
                let start = if after.is_empty() || after < prefix {
                    Bound::Included(prefix)
                } else {
                    Bound::Excluded(after)
                };
                Box::new(
                    objects
                        .range::<str, _>((start, Bound::Unbounded))
                        .take_while(move |(key, _)| key.starts_with(prefix)),
                )
            }
            ListOrder::Paths => {
                let mut keys: Vec<_> =
                    objects.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
                keys.sort_by(|(a, _), (b, _)| path_order(a, b));
                Box::new(keys.into_iter().filter(move |(key, _)| path_order(key, after).is_gt()))
            }
        }
    }
}

/// Compares as if `/` were less than all other characters.
fn path_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}
