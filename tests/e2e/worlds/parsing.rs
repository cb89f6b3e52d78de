//! Random text for the parsers. No request is made, so there are more cases.

use std::ops::RangeInclusive;

use proptest::{collection::vec, prelude::*, sample::select, strategy::BoxedStrategy};
use s3keep::{BucketUrl, ETag};

use crate::worlds::runner::check;

/// 2,000 percent: 20 times as many cases as all tests that make requests.
const PERCENT: usize = 2_000;
const SEGMENTS: RangeInclusive<usize> = 0..=12;

#[test]
fn any_text_parses_as_a_bucket_url_or_is_rejected() {
    let alphabet =
        select(vec!["s3://", "/", ".", "..", "a", "B", "_", "-", " ", "%", "\0", "é", "\u{1f600}"]);
    let segments = vec(alphabet, SEGMENTS).prop_map(|segments| segments.concat());
    let likely = segments.clone().prop_map(|rest| format!("s3://{rest}"));
    let text: BoxedStrategy<String> = prop_oneof![any::<String>(), segments, likely].boxed();
    check(PERCENT, text, |text| {
        let Ok(url) = text.parse::<BucketUrl>() else { return Ok(()) };
        prop_assert!(!url.bucket().is_empty() && !url.bucket().contains('/'));
        prop_assert!(url.prefix().is_empty() || url.prefix().ends_with('/'), "{:?}", url);
        prop_assert_eq!(url.key("a"), format!("{}a", url.prefix()));
        prop_assert_eq!(url.to_string().parse::<BucketUrl>().unwrap(), url.clone());
        // A trailing `/` is optional. A second one is an empty segment.
        let text = text.strip_suffix('/').unwrap_or(&text);
        prop_assert_eq!(format!("{text}/"), format!("s3://{}/{}", url.bucket(), url.prefix()));
        Ok(())
    });
}

#[test]
fn any_etag_is_written_as_it_was_parsed() {
    let digit = || select("0123456789abcdefABCDEFg".chars().collect::<Vec<_>>());
    let hex = vec(digit(), 31..=33).prop_map(String::from_iter);
    let number = prop_oneof![any::<u64>().prop_map(|n| n.to_string()), "[0-9+-]{0,3}"];
    let multipart = (hex.clone(), number).prop_map(|(hex, number)| format!("{hex}-{number}"));
    // The characters of an ETag (RFC 9110). `any` adds text that no server should send.
    let valid = "[!#-~\u{80}-\u{ff}]{0,40}";
    let text: BoxedStrategy<String> = prop_oneof![hex, multipart, valid, any::<String>()].boxed();
    check(PERCENT, text, |text| {
        let text = text.replace('"', "");
        let quoted = format!("\"{text}\"");
        let etag = ETag::parse(&quoted);
        if text.starts_with("W/") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            // A weak ETag, or one that our request header cannot hold, counts as none.
            prop_assert_eq!(etag, ETag::None);
            return Ok(());
        }
        prop_assert_eq!(etag.to_string(), text.clone());
        prop_assert_eq!(etag.quoted().unwrap_or("\"\"".to_owned()), quoted);
        prop_assert_eq!(ETag::parse(text.trim()).to_string(), text.trim());
        Ok(())
    });
}
