//! The response to ListObjectsV2
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
//!
//! It is parsed element by element, not deserialized into types. No other response is as long or as
//! frequent, and parsing is a large part of the cost of a large listing.

use crate::{
    error::Cause,
    model::{etag::ETag, time::Timestamp},
    s3::{responses::url_encoding::decode, xml::for_each_element},
};

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct ListPage {
    pub objects: Vec<Listed>,
    /// The common prefixes of the keys that are not listed one by one. Bytes if one is not UTF-8.
    pub prefixes: Vec<Result<String, Vec<u8>>>,
    /// The token that continues the listing on the next page.
    pub next: Option<String>,
}

/// An object in a listing.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The key. Bytes if it is not UTF-8.
    pub key: Result<String, Vec<u8>>,
    pub size: u64,
    pub modified: Timestamp,
    pub etag: ETag,
}

/// The children of a `Contents` element that were read so far.
#[derive(Default)]
struct Contents {
    key: Option<String>,
    size: Option<u64>,
    modified: Option<Timestamp>,
    etag: Option<ETag>,
}

/// Parses a page.
pub(crate) fn parse_page(xml: &str) -> Result<ListPage, Cause> {
    let (mut encoded, mut truncated, mut token) = (None, None, None);
    let (mut listed, mut prefixes) = (Vec::new(), Vec::new());
    let mut object = Contents::default();
    for_each_element("listing", xml, |path, text| {
        match path.strip_prefix("/ListBucketResult").unwrap_or_default() {
            "/Contents/Key" => set_once(&mut object.key, text.to_owned()),
            "/Contents/Size" => set_once(&mut object.size, parsed(text.trim().parse().ok(), path)?),
            "/Contents/LastModified" => set_once(
                &mut object.modified,
                parsed(Timestamp::parse_rfc3339(text.trim()), path)?.whole_second(),
            ),
            "/Contents/ETag" => set_once(&mut object.etag, ETag::parse(text)),
            "/Contents" => match std::mem::take(&mut object) {
                Contents { key: Some(key), size: Some(size), modified: Some(modified), etag } => {
                    listed.push((key, size, modified, etag.unwrap_or(ETag::None)));
                    Ok(())
                }
                _ => Err(malformed("an object without Key, Size or LastModified")),
            },
            "/CommonPrefixes/Prefix" => {
                prefixes.push(text.to_owned());
                Ok(())
            }
            "/EncodingType" => set_once(&mut encoded, text.trim().eq_ignore_ascii_case("url")),
            "/IsTruncated" => {
                // Some stores written in Python send `True`.
                set_once(
                    &mut truncated,
                    parsed(text.trim().to_ascii_lowercase().parse().ok(), path)?,
                )
            }
            "/NextContinuationToken" => set_once(&mut token, text.to_owned()),
            _ => Ok(()),
        }
    })?;
    let next = match (truncated, token.filter(|token| !token.trim().is_empty())) {
        (Some(false), None) => None,
        (Some(true), Some(token)) => Some(token),
        _ => {
            return Err(malformed(
                "IsTruncated and NextContinuationToken are missing or contradictory",
            ));
        }
    };
    let plain = |text: String| match encoded {
        Some(true) => decode(text),
        _ => Ok(text),
    };
    let objects = listed.into_iter().map(|(key, size, modified, etag)| Listed {
        key: plain(key),
        size,
        modified,
        etag,
    });
    let objects = objects.collect();
    Ok(ListPage { objects, prefixes: prefixes.into_iter().map(plain).collect(), next })
}

fn malformed(why: &str) -> Cause {
    Cause::Malformed(format!("listing: {why}"))
}

fn parsed<T>(value: Option<T>, path: &str) -> Result<T, Cause> {
    value.ok_or_else(|| malformed(&format!("the value of {path} is invalid")))
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Cause> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("an element occurs twice")),
    }
}

/// Runs the parser and checks its result, for the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn parse_listing(xml: &str) {
    if let Ok(page) = parse_page(xml) {
        assert!(page.next.is_none_or(|token| !token.is_empty()));
        assert!(page.objects.iter().all(|o| o.modified == o.modified.whole_second()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inner: &str) -> Result<ListPage, Cause> {
        parse_page(&format!(
            "<?xml version=\"1.0\"?>\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>b</Name>{inner}{}</ListBucketResult>",
            if inner.contains("IsTruncated") { "" } else { "<IsTruncated>false</IsTruncated>" }
        ))
    }

    fn contents(key: &str, time: &str) -> String {
        format!(
            "<Contents><Key>{key}</Key><LastModified>{time}</LastModified>\
             <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>5368709120</Size>\
             </Contents>"
        )
    }

    #[test]
    fn page_has_keys_sizes_and_whole_seconds() {
        let encoded = "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>t+/=</NextContinuationToken>";
        let found = page(&format!(
            "{encoded}{}{}",
            contents("a+b%2Bc%25%0A/%C3%A9", "2024-02-29T12:34:56.789Z"),
            contents("%ff", "2024-02-29T12:34:56Z")
        ))
        .unwrap();
        assert_eq!(found.next.as_deref(), Some("t+/="));
        let first = &found.objects[0];
        assert_eq!(first.key.as_deref(), Ok("a b+c%\n/\u{e9}"));
        assert_eq!((first.size, first.modified), (5 << 30, Timestamp::from_secs(1_709_210_096)));
        assert_eq!(first.etag, ETag::parse("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(found.objects[1].key, Err(vec![0xff]));
        // A store that does not support the encoding does not send `EncodingType`.
        let plain = page(&contents("a+b%2B", "2024-02-29T12:34:56Z")).unwrap();
        assert_eq!(plain.objects[0].key.as_deref(), Ok("a+b%2B"));
        assert_eq!(plain.next, None);
        assert_eq!(plain.prefixes, []);
    }

    #[test]
    fn page_has_common_prefixes() {
        let common =
            |prefix: &str| format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
        let both =
            [contents("a", "2024-02-29T12:34:56Z"), common("b+%2B/"), common("%ff/")].concat();
        let found = page(&format!("<EncodingType>url</EncodingType>{both}")).unwrap();
        assert_eq!(found.objects.len(), 1);
        assert_eq!(found.prefixes, [Ok("b +/".to_owned()), Err(b"\xff/".to_vec())]);
        assert_eq!(page(&common("b+%2B/")).unwrap().prefixes, [Ok("b+%2B/".to_owned())]);
    }

    #[test]
    fn text_that_is_not_a_listing_is_an_error() {
        for text in
            ["", "<", "<html></html>", "{}", "<ListBucketResult/>", "<Error><Code>x</Code></Error>"]
        {
            assert!(parse_page(text).is_err(), "{text}");
        }
        assert!(page("<IsTruncated>true</IsTruncated>").is_err());
        let token = "<NextContinuationToken>t</NextContinuationToken>";
        assert!(page(token).is_err());
        assert!(page(&format!("<IsTruncated>false</IsTruncated>{token}")).is_err());
        assert!(parse_page("<ListBucketResult><Name>b</Name></ListBucketResult>").is_err());
        assert!(page(&contents("a", "yesterday")).is_err());
        assert!(page("<Contents><Key>a</Key></Contents>").is_err());
    }

    #[test]
    fn spelling_and_layout_of_a_listing_do_not_matter() {
        let key = contents("a", "2024-02-29T12:34:56Z");
        let token = "<NextContinuationToken>t</NextContinuationToken>";
        let empty = "<NextContinuationToken>\n</NextContinuationToken>";
        for (truncated, token, next) in [
            ("True", token, Some("t")),
            ("TRUE\n", token, Some("t")),
            ("False", "", None),
            ("false", "<NextContinuationToken/>", None),
            ("false", empty, None),
        ] {
            let inner = format!("{key}<IsTruncated>{truncated}</IsTruncated>{token}");
            assert_eq!(page(&inner).unwrap().next.as_deref(), next, "{inner}");
        }
        assert!(page(&format!("<IsTruncated>true</IsTruncated>{empty}")).is_err());
        let plain = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated>{key}\
             <CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>{}</ListBucketResult>",
            contents("c", "2024-02-29T14:34:56.7+02:00")
        );
        let prefixed = plain.replace("</", "</\0").replace('<', "<s:").replace("<s:/\0", "</s:");
        for text in [
            format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n{plain}\r\n"),
            plain.replace("><", ">\r\n\t<").replace("5368709120", "\n5368709120\n"),
            prefixed.replace("<s:ListBucketResult>", "<s:ListBucketResult xmlns:s='http://s'>"),
        ] {
            let found = parse_page(&text).unwrap();
            assert_eq!(found.prefixes, [Ok("b/".to_owned())], "{text}");
            for (object, key) in found.objects.iter().zip(["a", "c"]) {
                assert_eq!((object.key.as_deref(), object.size), (Ok(key), 5 << 30));
                assert_eq!(object.modified, Timestamp::from_secs(1_709_210_096));
                assert!(matches!(object.etag, ETag::Md5(_)));
            }
            assert_eq!(found.objects.len(), 2);
        }
    }

    #[test]
    fn elements_elsewhere_do_not_belong_to_an_object() {
        let owner = "<Owner><Key>o</Key><Size>1</Size></Owner>";
        let odd = contents("a&amp;&#x62;<!-- c -->&lt;<![CDATA[&amp;]]> ", "2024-02-29T12:34:56Z");
        let found = page(&format!(
            "<Key>x</Key><Size/>{}<Other>{odd}</Other>",
            odd.replace("<Size>", &format!("{owner}<Size> "))
        ));
        let objects = found.unwrap().objects;
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].key.as_deref(), Ok("a&b<&amp; "));
        assert_eq!(objects[0].size, 5 << 30);
        for wrong in [
            odd.replace("<Key>", "<Key>b</Key><Key>"),
            odd.replace("</Key>", ""),
            odd.replace("</Contents>", ""),
            odd.replace("&lt;", "&nbsp;"),
            odd.replace("&lt;", "&#x110000;"),
            odd.replace("&lt;", "&"),
            odd.replace("5368709120", "-1"),
            format!("{odd}<IsTruncated>no</IsTruncated>"),
        ] {
            assert!(page(&wrong).is_err(), "{wrong}");
        }
    }
}
