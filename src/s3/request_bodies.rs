//! The XML bodies of the two requests that have one: CompleteMultipartUpload and DeleteObjects.

use std::fmt::Write;

use quick_xml::escape::escape;

use crate::s3::responses::multipart::UploadedPart;

/// The body of CompleteMultipartUpload. `parts` are in order, without gaps.
pub(crate) fn complete_upload(parts: &[UploadedPart]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (number, part) in (1..).zip(parts) {
        let etag = escape(part.etag.as_str());
        let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>");
        if let Some((algorithm, value)) = &part.checksum {
            let name = algorithm.name();
            let _ = write!(body, "<Checksum{name}>{value}</Checksum{name}>");
        }
        body.push_str("</Part>");
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

/// The body of DeleteObjects. Every key must [fit](fits_xml).
pub(crate) fn delete_objects(keys: &[&str]) -> String {
    let mut body = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for key in keys {
        let _ = write!(body, "<Object><Key>{}</Key></Object>", escape(*key));
    }
    body.push_str("</Delete>");
    body
}

/// Whether a key survives the way through XML unchanged, in the request and in the response. XML
/// 1.0 has no control characters and folds line ends, and its parsers trim spaces.
pub(crate) fn fits_xml(key: &str) -> bool {
    key.trim() == key
        && !key.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::checksum::{Checksum, ContentDigest};

    #[test]
    fn complete_upload_lists_numbers_etags_and_checksums() {
        let checksum = Some((Checksum::Sha256, "c+/=".to_owned()));
        let digest = ContentDigest { algorithm: Checksum::None, value: String::new() };
        let parts = [
            UploadedPart {
                etag: "\"e1\"".to_owned(),
                len: 1,
                checksum: None,
                digest: digest.clone(),
            },
            UploadedPart { etag: "e2".to_owned(), len: 1, checksum, digest },
        ];
        assert_eq!(
            complete_upload(&parts),
            "<CompleteMultipartUpload>\
             <Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>e2</ETag>\
             <ChecksumSHA256>c+/=</ChecksumSHA256></Part>\
             </CompleteMultipartUpload>"
        );
    }

    #[test]
    fn delete_objects_escapes_keys() {
        assert_eq!(
            delete_objects(&["a", "b&<>'\""]),
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Object><Key>a</Key></Object>\
             <Object><Key>b&amp;&lt;&gt;&apos;&quot;</Key></Object></Delete>"
        );
    }

    #[test]
    fn keys_that_xml_would_change_do_not_fit() {
        assert!(["a", "a b", "\u{e9}&<", "a/\u{1f600}"].into_iter().all(fits_xml));
        assert!(!["a\n", " a", "a\u{1}b", "a\u{fffe}", "a\u{85}"].into_iter().any(fits_xml));
    }
}
