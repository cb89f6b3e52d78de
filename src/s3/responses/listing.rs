//! The response to ListObjectsV2 and to ListObjects, its first version
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
//!
//! It is parsed element by element, not deserialized into types. No other response is as long or as
//! frequent, and parsing is a large part of the cost of a large listing.
//!
//! # Where a page says that there are more
//!
//! | `IsTruncated` | other elements | the next page |
//! | --- | --- | --- |
//! | `false` | any | none |
//! | `true` | a token | starts at the token |
//! | `true`, a response of version 1 | `NextMarker` | starts after the marker |
//! | `true`, a response of version 1 | | starts after the last key |
//! | missing | a token or `NextMarker` | as with `true` |
//! | missing | a key | starts after the last key; only an empty page is the last one |
//!
//! Everything else is an error.

use crate::{
    error::Cause,
    model::{archive_class::ArchiveClass, etag::ETag, time::Timestamp},
    s3::{
        quirks::KeyEncoding,
        responses::{time::parse_time, url_encoding::decode},
        xml::for_each_element,
    },
};

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct ListPage {
    pub objects: Vec<Listed>,
    /// The common prefixes of the keys that are not listed one by one. Bytes if one is not UTF-8.
    pub prefixes: Vec<Result<String, Vec<u8>>>,
    pub next: Option<NextPage>,
}

/// Where the next page starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NextPage {
    /// Where the page with this continuation token ended.
    Token(String),
    /// After this key: the marker of a response of version 1.
    Marker(String),
    /// After this key, which is the last one of a page that does not say whether it is the last page.
    /// `is_full`: it may have as many keys as a page can have.
    LastKey { key: String, is_full: bool },
}

/// An object in a listing.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The key. Bytes if it is not UTF-8.
    pub key: Result<String, Vec<u8>>,
    pub size: u64,
    pub modified: Timestamp,
    pub etag: ETag,
    /// The storage class of an object that cannot be read.
    pub archived: Option<ArchiveClass>,
}

/// The children of a `Contents` element that were read so far.
#[derive(Default)]
struct Contents {
    key: Option<String>,
    size: Option<u64>,
    modified: Option<Timestamp>,
    etag: Option<ETag>,
    class: Option<ArchiveClass>,
    /// The state of an archived object: is it being retrieved, and until when can it be read?
    is_in_progress: bool,
    has_expiry_date: bool,
}

impl Contents {
    /// The object. `None` if a child is missing that every object has.
    fn complete(self) -> Option<RawObject> {
        Some(RawObject {
            key: self.key?,
            size: self.size?,
            modified: self.modified?,
            etag: self.etag.unwrap_or(ETag::None),
            // The class of an object that cannot be read.
            archived: self.class.filter(|_| self.is_in_progress || !self.has_expiry_date),
        })
    }
}

/// The most keys of a page that does not name a limit.
const MAX_KEYS: usize = 1_000;

/// A listed object whose key is still as the server sent it.
#[derive(Debug)]
struct RawObject {
    key: String,
    size: u64,
    modified: Timestamp,
    etag: ETag,
    archived: Option<ArchiveClass>,
}

/// A page whose keys are still as the server sent them.
#[derive(Debug, Default)]
pub(crate) struct RawPage {
    objects: Vec<RawObject>,
    prefixes: Vec<String>,
    /// The value of `EncodingType`: whether the keys are encoded.
    is_encoded: Option<bool>,
    is_truncated: Option<bool>,
    token: Option<String>,
    next_marker: Option<String>,
    max_keys: Option<usize>,
    /// There is an element that only responses of version 1 have.
    has_marker: bool,
    /// There is an element that only responses of version 2 have.
    is_version_2: bool,
    /// There is the root element, so this is a listing.
    is_listing: bool,
}

impl RawPage {
    pub(crate) fn parse(xml: &str) -> Result<RawPage, Cause> {
        let mut page = RawPage::default();
        let mut object = Contents::default();
        for_each_element("listing", xml, |path, text| {
            match path.strip_prefix("/ListBucketResult").unwrap_or_default() {
                "/Contents/Key" => set_once(&mut object.key, text.to_owned()),
                "/Contents/Size" => {
                    set_once(&mut object.size, parsed(text.trim().parse().ok(), path)?)
                }
                "/Contents/LastModified" => {
                    set_once(&mut object.modified, parsed(parse_time(text), path)?.whole_second())
                }
                "/Contents/ETag" => set_once(&mut object.etag, ETag::parse(text)),
                "/Contents/StorageClass" => {
                    object.class = ArchiveClass::parse(text);
                    Ok(())
                }
                "/Contents/RestoreStatus/IsRestoreInProgress" => {
                    object.is_in_progress = text.trim().eq_ignore_ascii_case("true");
                    Ok(())
                }
                "/Contents/RestoreStatus/RestoreExpiryDate" => {
                    object.has_expiry_date = !text.trim().is_empty();
                    Ok(())
                }
                "/Contents" => match std::mem::take(&mut object).complete() {
                    Some(object) => {
                        page.objects.push(object);
                        Ok(())
                    }
                    None => Err(malformed("an object without Key, Size or LastModified")),
                },
                "/CommonPrefixes/Prefix" => {
                    page.prefixes.push(text.to_owned());
                    Ok(())
                }
                "/EncodingType" => {
                    set_once(&mut page.is_encoded, text.trim().eq_ignore_ascii_case("url"))
                }
                "/IsTruncated" => {
                    // Some stores written in Python send `True`.
                    let value = text.trim().to_ascii_lowercase().parse().ok();
                    set_once(&mut page.is_truncated, parsed(value, path)?)
                }
                "/NextContinuationToken" => set_once(&mut page.token, text.to_owned()),
                "/NextMarker" => set_once(&mut page.next_marker, text.to_owned()),
                "/Marker" => {
                    page.has_marker = true;
                    Ok(())
                }
                "/MaxKeys" => {
                    page.max_keys = text.trim().parse().ok();
                    Ok(())
                }
                "" => {
                    page.is_listing |= path == "/ListBucketResult";
                    Ok(())
                }
                "/KeyCount" | "/ContinuationToken" | "/StartAfter" => {
                    page.is_version_2 = true;
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        if !page.is_listing {
            return Err(malformed("there is no ListBucketResult"));
        }
        page.token = page.token.filter(|token| !token.trim().is_empty());
        page.next_marker = page.next_marker.filter(|marker| !marker.trim().is_empty());
        page.is_version_2 |= page.token.is_some();
        Ok(page)
    }

    /// Whether this is a response of version 1.
    pub(crate) fn is_version_1(&self) -> bool {
        let shows = self.has_marker || self.next_marker.is_some();
        !self.is_version_2 && (shows || self.is_truncated == Some(true))
    }

    /// The encoding that the page states.
    pub(crate) fn stated_encoding(&self) -> KeyEncoding {
        if self.is_encoded == Some(true) { KeyEncoding::Form } else { KeyEncoding::None }
    }

    /// Whether the keys may be encoded in another way than the page states: they look encoded and it
    /// does not say so, or the reverse.
    pub(crate) fn may_misstate_encoding(&self) -> bool {
        let keys = || self.raw_keys();
        let has_escapes = |key: &str| key.contains('+') || key.contains('%') && has_escape(key);
        keys().any(has_escapes) && (self.is_encoded == Some(true)) == keys().any(is_surely_plain)
    }

    /// The encodings that this page may have, given the same page in a response to a request that did
    /// not ask for one.
    pub(crate) fn encodings_by(&self, plain: &RawPage) -> Vec<KeyEncoding> {
        let shows = |encoding: &KeyEncoding| {
            self.raw_keys().count() == plain.raw_keys().count()
                && self
                    .raw_keys()
                    .zip(plain.raw_keys())
                    .all(|(raw, plain)| decode(raw.to_owned(), *encoding).as_deref() == Ok(plain))
        };
        KeyEncoding::ALL.into_iter().filter(shows).collect()
    }

    fn raw_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.objects.iter().map(|object| object.key.as_str());
        keys.chain(self.prefixes.iter().map(String::as_str))
    }

    /// Decodes the page. `may_be_end`: the page before it did not say whether it is the last one.
    pub(crate) fn decode(self, encoding: KeyEncoding, may_be_end: bool) -> Result<ListPage, Cause> {
        let plain = |key: String| decode(key, encoding);
        let is_version_1 = self.is_version_1();
        let RawPage { objects, prefixes, is_truncated, token, next_marker, max_keys, .. } = self;
        let objects = objects.into_iter().map(|object| Listed {
            key: plain(object.key),
            size: object.size,
            modified: object.modified,
            etag: object.etag,
            archived: object.archived,
        });
        let objects: Vec<Listed> = objects.collect();
        let prefixes: Vec<_> = prefixes.into_iter().map(plain).collect();
        let no_utf8 = |_| malformed("the listing continues after a key that is not UTF-8");
        let marker = next_marker.map(plain).transpose().map_err(no_utf8)?;
        let last_key = || match objects.last() {
            Some(last) if prefixes.is_empty() => last.key.clone().ok(),
            _ => None,
        };
        let is_full = objects.len() >= max_keys.unwrap_or(MAX_KEYS);
        let is_empty = objects.is_empty() && prefixes.is_empty();
        let next = match (is_truncated, token, marker) {
            (Some(false), ..) => None,
            (_, Some(token), _) => Some(NextPage::Token(token)),
            (Some(true), None, Some(marker)) if is_version_1 => Some(NextPage::Marker(marker)),
            (None, None, Some(marker)) => Some(NextPage::Marker(marker)),
            (Some(true), None, None) if is_version_1 && last_key().is_some() => {
                last_key().map(NextPage::Marker)
            }
            (None, None, None) if last_key().is_some() => {
                last_key().map(|key| NextPage::LastKey { key, is_full })
            }
            // Only a page of a listing has one of these. A body without them may be anything.
            (None, None, None) if is_empty && (may_be_end || max_keys.is_some()) => None,
            _ => {
                return Err(malformed(
                    "IsTruncated and NextContinuationToken are missing or contradictory",
                ));
            }
        };
        Ok(ListPage { objects, prefixes, next })
    }
}

/// Parses the first page of a listing.
#[cfg(any(test, fuzzing))]
fn parse_page(xml: &str) -> Result<ListPage, Cause> {
    let page = RawPage::parse(xml)?;
    let encoding = page.stated_encoding();
    page.decode(encoding, false)
}

/// Whether a key contains an escape of percent-encoding.
fn has_escape(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.windows(3).any(|three| three[0] == b'%' && is_hex(three[1]) && is_hex(three[2]))
}

/// Whether a key contains what percent-encoding would have encoded.
fn is_surely_plain(key: &str) -> bool {
    let bytes = key.as_bytes();
    let is_escape = |at: usize| {
        bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(|byte| is_hex(*byte)))
    };
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'%' => !is_escape(at),
        b' ' => true,
        byte => !byte.is_ascii(),
    })
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
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
        assert!(page.next != Some(NextPage::Token(String::new())));
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
        assert_eq!(found.next, Some(NextPage::Token("t+/=".to_owned())));
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
    fn archived_object_is_one_that_was_not_retrieved() {
        let status = |in_progress: &str, more: &str| {
            format!(
                "<RestoreStatus><IsRestoreInProgress>{in_progress}</IsRestoreInProgress>{more}\
                 </RestoreStatus>"
            )
        };
        let expiry = "<RestoreExpiryDate>2024-02-29T12:34:56Z</RestoreExpiryDate>";
        use ArchiveClass::{DeepArchive, Glacier};
        for (class, status, archived) in [
            ("GLACIER", String::new(), Some(Glacier)),
            ("DEEP_ARCHIVE", String::new(), Some(DeepArchive)),
            ("GLACIER", status("true", ""), Some(Glacier)),
            ("GLACIER", status("false", ""), Some(Glacier)),
            ("GLACIER", status("false", expiry), None),
            ("DEEP_ARCHIVE", status("FALSE", expiry), None),
            ("GLACIER_IR", String::new(), None),
            ("STANDARD", String::new(), None),
        ] {
            let class_element = format!("{status}<StorageClass>{class}</StorageClass></Contents>");
            let first =
                contents("a", "2024-02-29T12:34:56Z").replace("</Contents>", &class_element);
            // The class of one object says nothing about the next.
            let found = page(&(first + &contents("b", "2024-02-29T12:34:56Z"))).unwrap();
            let classes: Vec<_> = found.objects.iter().map(|object| object.archived).collect();
            assert_eq!(classes, [archived, None], "{class} {status}");
        }
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
            ("false", token, None),
        ] {
            let next = next.map(|token: &str| NextPage::Token(token.to_owned()));
            let inner = format!("{key}<IsTruncated>{truncated}</IsTruncated>{token}");
            assert_eq!(page(&inner).unwrap().next, next, "{inner}");
        }
        assert!(page(&format!("<IsTruncated>true</IsTruncated>{empty}")).is_err());
        let lost = format!("{key}<KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>");
        assert!(page(&lost).is_err(), "a response of version 2 has a token");
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
    fn page_without_is_truncated_or_of_version_1_continues_after_a_key() {
        let keys =
            |names: [&str; 2]| names.map(|name| contents(name, "2024-02-29T12:34:56Z")).concat();
        let next = |inner: String| {
            let xml = format!("<ListBucketResult><Name>b</Name>{inner}</ListBucketResult>");
            parse_page(&xml).map(|page| page.next)
        };
        let key = |key: &str| key.to_owned();
        let truncated = "<IsTruncated>true</IsTruncated>";
        let marker = "<NextMarker>a+c</NextMarker>";
        let encoded = "<EncodingType>url</EncodingType>";
        let two = keys(["a", "b+d"]);
        for (inner, expected) in [
            (format!("{truncated}{two}"), Some(NextPage::Marker(key("b+d")))),
            (format!("{truncated}{two}{encoded}<Marker/>"), Some(NextPage::Marker(key("b d")))),
            (format!("{truncated}{two}{encoded}{marker}"), Some(NextPage::Marker(key("a c")))),
            (format!("{two}{marker}"), Some(NextPage::Marker(key("a+c")))),
            (
                format!("{two}<NextContinuationToken>t</NextContinuationToken>"),
                Some(NextPage::Token(key("t"))),
            ),
            (two.clone(), Some(NextPage::LastKey { key: key("b+d"), is_full: false })),
            (
                format!("<MaxKeys>2</MaxKeys>{two}"),
                Some(NextPage::LastKey { key: key("b+d"), is_full: true }),
            ),
            (format!("<IsTruncated>false</IsTruncated>{two}{marker}"), None),
            (format!("{truncated}{marker}"), Some(NextPage::Marker(key("a+c")))),
            ("<MaxKeys>1000</MaxKeys>".to_owned(), None),
        ] {
            assert_eq!(next(inner.clone()).unwrap(), expected, "{inner}");
        }
        assert!(next(truncated.to_owned()).is_err());
        let last = RawPage::parse("<ListBucketResult></ListBucketResult>").unwrap();
        assert_eq!(last.decode(KeyEncoding::None, true).unwrap().next, None);
    }

    #[test]
    fn encoding_of_keys_is_found_by_comparison() {
        let page = |stated: &str, keys: [&str; 2]| {
            let keys = keys.map(|key| contents(key, "2024-02-29T12:34:56Z")).concat();
            RawPage::parse(&format!("<ListBucketResult>{stated}{keys}</ListBucketResult>")).unwrap()
        };
        let stated = "<EncodingType>url</EncodingType>";
        let plain = page("", ["a b", "c+d"]);
        for (stated, keys, is_doubtful, encoding) in [
            ("", ["a b", "c+d"], false, Some(KeyEncoding::None)),
            ("", ["a+b", "c%2Bd"], true, Some(KeyEncoding::Form)),
            ("", ["a%20b", "c+d"], true, Some(KeyEncoding::Percent)),
            ("", ["x%20y", "z"], true, None),
            ("", ["a", "b"], false, None),
            (stated, ["a+b", "c%2Bd"], false, Some(KeyEncoding::Form)),
            (stated, ["a b", "c+d"], true, Some(KeyEncoding::None)),
            (stated, ["100%", "c+d"], true, None),
        ] {
            let page = page(stated, keys);
            assert_eq!(page.may_misstate_encoding(), is_doubtful, "{stated} {keys:?}");
            let found = page.encodings_by(&plain);
            assert_eq!(found.first().copied(), encoding, "{stated} {keys:?}");
        }
    }

    #[test]
    fn page_without_a_plus_does_not_tell_two_encodings_apart() {
        let page = |key: &str| {
            let key = contents(key, "2024-02-29T12:34:56Z");
            RawPage::parse(&format!("<ListBucketResult>{key}</ListBucketResult>")).unwrap()
        };
        let both = [KeyEncoding::Form, KeyEncoding::Percent];
        assert_eq!(page("a%20b").encodings_by(&page("a b")), both);
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
