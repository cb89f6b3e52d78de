//! The responses of multipart uploads.

use quick_xml::DeError;
use serde::Deserialize;

use crate::{
    error::Cause,
    model::{etag::ETag, time::Timestamp},
    s3::{
        checksum::{Checksum, ContentDigest},
        quirks::KeyEncoding,
        responses::{error::check_success, time::parse_time, url_encoding::decode},
        xml::for_each_element,
    },
};

/// A multipart upload that was started, and neither completed nor aborted.
#[derive(Clone, Debug)]
pub(crate) struct OpenUpload {
    pub key: String,
    pub upload_id: String,
    pub initiated: Timestamp,
}

/// A page of ListMultipartUploads.
pub(crate) struct UploadsPage {
    pub uploads: Vec<OpenUpload>,
    /// Where the next page starts.
    pub next: Option<UploadMarker>,
}

/// A position in a list of uploads.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct UploadMarker {
    pub key: String,
    pub upload_id: String,
}

/// The response to UploadPart.
#[derive(Clone, Debug)]
pub(crate) struct UploadedPart {
    pub etag: String,
    /// The size of the part.
    pub len: u64,
    /// The checksum, if CompleteMultipartUpload has to repeat it.
    pub checksum: Option<(Checksum, String)>,
    /// The digest of the content that was sent, or that the server was found to have.
    pub digest: ContentDigest,
}

/// A part of an open upload that the server has.
#[derive(Debug)]
pub(crate) struct ListedPart {
    pub number: u32,
    pub size: u64,
    pub etag: String,
}

/// The parts of an open upload that the server has, or one page of them.
#[derive(Debug, Default)]
pub(crate) struct ListedParts {
    pub parts: Vec<ListedPart>,
    /// The checksum algorithm that the upload was started with.
    pub algorithm: Option<String>,
    /// Where the next page starts.
    pub next: Option<u32>,
}

/// Parses the response to CreateMultipartUpload.
pub(crate) fn parse_upload_id(xml: &str) -> Result<String, Cause> {
    // `Bucket` and `Key` are required: a body without them is not a response to this request.
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Created {
        #[serde(rename = "Bucket")]
        _bucket: String,
        #[serde(rename = "Key")]
        _key: String,
        upload_id: String,
    }
    let created: Created =
        quick_xml::de::from_str(xml).map_err(malformed("CreateMultipartUpload"))?;
    Ok(created.upload_id)
}

/// The response to CompleteMultipartUpload.
#[derive(Debug)]
pub(crate) struct Completed {
    pub etag: ETag,
    /// The checksums of the object.
    pub checksums: Vec<(Checksum, String)>,
}

/// Parses the response to CompleteMultipartUpload. It may contain an error despite its status 200.
pub(crate) fn parse_completed(xml: &str) -> Result<Completed, Cause> {
    const OPERATION: &str = "CompleteMultipartUpload";
    check_success(xml)?;
    let (mut etag, mut checksums) = (None, Vec::new());
    for_each_element(OPERATION, xml, |path, text| {
        let mut names = path.split('/').skip(2);
        let (Some(name), None) = (names.next(), names.next()) else { return Ok(()) };
        if name == "ETag" {
            etag = Some(ETag::parse(text));
        } else if let Some(algorithm) = name.strip_prefix("Checksum") {
            let algorithm = Checksum::ALL.into_iter().find(|known| known.name() == algorithm);
            checksums.extend(algorithm.map(|algorithm| (algorithm, text.trim().to_owned())));
        }
        Ok(())
    })?;
    let missing = || Cause::Malformed(format!("{OPERATION} without an ETag"));
    Ok(Completed { etag: etag.ok_or_else(missing)?, checksums })
}

/// Parses the response to ListMultipartUploads.
pub(crate) fn parse_uploads(xml: &str) -> Result<UploadsPage, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Uploads {
        is_truncated: bool,
        encoding_type: Option<String>,
        next_key_marker: Option<String>,
        next_upload_id_marker: Option<String>,
        #[serde(default)]
        upload: Vec<Upload>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Upload {
        key: String,
        upload_id: String,
        initiated: String,
    }
    let page: Uploads = quick_xml::de::from_str(xml).map_err(malformed("ListMultipartUploads"))?;
    let is_encoded = page.encoding_type.is_some_and(|kind| kind.eq_ignore_ascii_case("url"));
    let encoding = if is_encoded { KeyEncoding::Form } else { KeyEncoding::None };
    let plain = |key: String| decode(key, encoding);
    let uploads = page.upload.into_iter().filter_map(|upload| {
        let initiated = parse_time(&upload.initiated)?;
        let key = plain(upload.key).ok()?;
        Some(OpenUpload { key, upload_id: upload.upload_id, initiated })
    });
    let uploads = uploads.collect();
    let next = match page.next_key_marker.map(plain) {
        Some(Ok(key)) if page.is_truncated => {
            let upload_id = page.next_upload_id_marker.unwrap_or_default();
            Some(UploadMarker { key, upload_id })
        }
        _ => None,
    };
    Ok(UploadsPage { uploads, next })
}

/// Parses a page of ListParts.
pub(crate) fn parse_parts(xml: &str) -> Result<ListedParts, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Parts {
        is_truncated: bool,
        next_part_number_marker: Option<u32>,
        checksum_algorithm: Option<String>,
        #[serde(default)]
        part: Vec<Part>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Part {
        part_number: u32,
        size: u64,
        #[serde(rename = "ETag")]
        etag: String,
    }
    let page: Parts = quick_xml::de::from_str(xml).map_err(malformed("ListParts"))?;
    let listed =
        |part: Part| ListedPart { number: part.part_number, size: part.size, etag: part.etag };
    Ok(ListedParts {
        parts: page.part.into_iter().map(listed).collect(),
        algorithm: page.checksum_algorithm.filter(|name| !name.is_empty()),
        next: page.next_part_number_marker.filter(|_| page.is_truncated),
    })
}

fn malformed(operation: &str) -> impl Fn(DeError) -> Cause {
    move |error| Cause::Malformed(format!("{operation}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_in_a_response_with_status_200_is_an_error() {
        let done =
            "<CompleteMultipartUploadResult><ETag>\"x-1\"</ETag></CompleteMultipartUploadResult>";
        assert_eq!(parse_completed(done).unwrap().etag, ETag::Other("x-1".into()));
        let sum = "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>";
        let completed = parse_completed(&done.replace("<ETag>", &format!("{sum}<ETag>"))).unwrap();
        assert_eq!(completed.checksums, [(Checksum::Crc32, "AAAAAA==".to_owned())]);
        for text in ["", "<Error><Code>InternalError</Code><Message>m</Message></Error>", "<x/>"] {
            assert!(parse_completed(text).is_err(), "{text}");
        }
    }
}
