//! Entity tags.

use std::fmt;

/// An entity tag, in a compact form: a listing may hold millions of them.
///
/// ```
/// use s3keep::ETag;
///
/// let etag = ETag::parse("\"d41d8cd98f00b204e9800998ecf8427e-3\"");
/// assert!(matches!(etag, ETag::Parts(_, 3)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ETag {
    /// 32 hexadecimal digits. For a plain upload this is the MD5 of the content. Under SSE-KMS and
    /// SSE-C it has the same form, but is not an MD5
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
    Md5([u8; 16]),
    /// The ETag of a multipart upload: the MD5 of the parts' MD5s, and the number of parts.
    Parts([u8; 16], u32),
    /// Any other ETag, without its quotes.
    Other(Box<str>),
    /// The server sent no usable ETag.
    None,
}

impl ETag {
    /// Parses an ETag from a header or a listing, with or without quotes.
    ///
    /// The result is [`ETag::None`] for a weak ETag, and for one that a request header cannot hold:
    /// neither can be used to request that version of an object.
    pub fn parse(text: &str) -> ETag {
        let text = text.trim().trim_matches('"');
        if text.starts_with("W/") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return ETag::None;
        }
        let (hex, parts) = match text.split_once('-') {
            Some((hex, parts)) => {
                (hex, parts.parse().ok().filter(|n: &u32| n.to_string() == parts))
            }
            None => (text, Some(0)),
        };
        match (from_hex(hex), parts) {
            _ if text.is_empty() => ETag::None,
            (Some(md5), Some(0)) if !text.contains('-') => ETag::Md5(md5),
            (Some(md5), Some(parts)) => ETag::Parts(md5, parts),
            _ => ETag::Other(text.into()),
        }
    }

    /// Parses an ETag, also a weak one, which names the same content, but perhaps other bytes.
    pub(crate) fn parse_weak(text: &str) -> ETag {
        let text = text.trim();
        ETag::parse(text.strip_prefix("W/").unwrap_or(text))
    }

    /// Whether two ETags name the same version of an object.
    ///
    /// Stores differ in the case of the digits, and proxies add a suffix where they compress. An ETag
    /// that is missing is never the same.
    pub(crate) fn is_same(&self, other: &ETag) -> bool {
        *self != ETag::None && (self == other || self.plain() == other.plain())
    }

    /// Whether two ETags are the same, apart from the suffix of a proxy.
    pub(crate) fn has_other_suffix(&self, other: &ETag) -> bool {
        self.is_same(other) && !self.to_string().eq_ignore_ascii_case(&other.to_string())
    }

    /// The ETag in lower case, if it is an MD5, and without the suffix of a proxy.
    pub(crate) fn plain(&self) -> ETag {
        let ETag::Other(text) = self else { return self.clone() };
        let without = PROXY_SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix));
        let text = without.filter(|text| !text.is_empty()).unwrap_or(text);
        match ETag::parse(&text.to_ascii_lowercase()) {
            md5 @ (ETag::Md5(_) | ETag::Parts(..)) => md5,
            _ => ETag::Other(text.into()),
        }
    }

    /// The ETag in quotes, as request headers need it. `None` if there is no ETag.
    pub fn quoted(&self) -> Option<String> {
        match self {
            ETag::None => None,
            other => Some(format!("\"{other}\"")),
        }
    }
}

/// What proxies append to the ETag of a response that they compress.
const PROXY_SUFFIXES: [&str; 4] = ["-gzip", ";gzip", "-br", ";br"];

/// Parses 32 lower-case hexadecimal digits: the form that `Display` of [`ETag`] writes.
fn from_hex(text: &str) -> Option<[u8; 16]> {
    let is_lower_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 32 || !text.as_bytes().iter().all(is_lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ETag::Md5(md5) => write!(f, "{:032x}", u128::from_be_bytes(*md5)),
            ETag::Parts(md5, parts) => write!(f, "{:032x}-{parts}", u128::from_be_bytes(*md5)),
            ETag::Other(text) => f.write_str(text),
            ETag::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_etag_is_written_back_unchanged() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert!(matches!(ETag::parse(&format!("\"{md5}\"")), ETag::Md5(_)));
        assert!(matches!(ETag::parse(&format!("{md5}-3")), ETag::Parts(_, 3)));
        for text in [
            md5,
            &format!("{md5}-10000"),
            &format!("{md5}-03"),
            &format!("{md5}-"),
            "-",
            &md5.to_uppercase(),
            "0x8D",
            &format!("{md5}-0"),
        ] {
            assert_eq!(ETag::parse(text).to_string(), *text);
            assert_eq!(ETag::parse(text).quoted(), Some(format!("\"{text}\"")));
        }
        for none in ["", "\"\"", "W/\"abc\"", "a b", "a\u{1}", "\u{e9}"] {
            assert_eq!(ETag::parse(none).quoted(), None, "{none}");
        }
    }

    #[test]
    fn case_and_suffix_of_a_proxy_do_not_matter() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let parse = ETag::parse_weak;
        for same in [
            md5.to_uppercase(),
            format!("\"{md5}-gzip\""),
            format!("W/\"{md5}\""),
            format!("{}-gzip", md5.to_uppercase()),
        ] {
            assert!(
                parse(md5).is_same(&parse(&same)) && parse(&same).is_same(&parse(md5)),
                "{same}"
            );
        }
        assert!(parse(&format!("{}-3", md5.to_uppercase())).is_same(&parse(&format!("{md5}-3"))));
        assert!(parse("abc-gzip").is_same(&parse("abc")));
        let one_part = format!("{md5}-1");
        let different =
            [("abc", "ABC"), (md5, "abc"), ("", ""), (md5, &one_part), ("-gzip", "-br")];
        for (a, b) in different {
            assert!(!parse(a).is_same(&parse(b)), "{a} {b}");
        }
        let other = |text: &str| ETag::Other(text.into());
        assert!(!other("version 1").is_same(&other("version 2")));
    }
}
