//! The server's own words, as they may be shown: short, on one line, and without secrets.
//!
//! A server is free to send anything, also parts of the request that it rejects. Some send back the
//! text that was signed.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The most characters to show of the beginning and of the end of a message. AWS names the key in the
/// middle of a message, and the policy that denies a request at its end.
const SHOWN_START: usize = 400;
const SHOWN_END: usize = 200;

/// Shown in place of a secret.
const MASK: &str = "***";

/// Shown in place of the middle of a long message.
const GAP: &str = " ... ";

/// Shorter secrets are not masked: they hide nothing, but would make a message unreadable.
const MIN_SECRET: usize = 4;

/// The start of everything that only a signed request contains.
const SIGNED: &str = "AWS4-HMAC-SHA256";

/// Shortens a message of a server, and removes `secrets` from it.
pub(crate) fn clean(message: &str, secrets: &[&str]) -> String {
    let mut text = message.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= MIN_SECRET) {
        for form in forms(secret) {
            text = text.replace(&form, MASK);
        }
    }
    for marker in [SIGNED, "Signature="] {
        if let Some(at) = text.find(marker) {
            text.replace_range(at.., MASK);
        }
    }
    shorten(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The forms in which a response may contain a secret: as it is, in JSON, and in a URL.
fn forms(secret: &str) -> Vec<String> {
    const UNRESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let mut forms = vec![secret.to_owned(), secret.replace('/', "\\/")];
    for set in [UNRESERVED, NON_ALPHANUMERIC] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        forms.push(with_lowercase_escapes(&encoded));
        forms.push(encoded);
    }
    forms
}

/// The same percent-encoded text with `%2f` instead of `%2F`.
fn with_lowercase_escapes(encoded: &str) -> String {
    let mut since_percent = usize::MAX;
    let lower = |c: char| {
        since_percent = if c == '%' { 0 } else { since_percent.saturating_add(1) };
        if since_percent <= 2 { c.to_ascii_lowercase() } else { c }
    };
    encoded.chars().map(lower).collect()
}

/// Cuts out the middle of a long text.
fn shorten(text: String) -> String {
    let count = text.chars().count();
    if count <= SHOWN_START + GAP.len() + SHOWN_END {
        return text;
    }
    let start = text.chars().take(SHOWN_START);
    let end = text.chars().skip(count - SHOWN_END);
    start.chain(GAP.chars()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_one_line_of_limited_length_with_both_ends() {
        assert_eq!(clean(" a\r\n\tb  c ", &[]), "a b c");
        let long = format!("start {} end", "\u{e9}".repeat(2_000));
        let cut = clean(&long, &[]);
        assert!(cut.starts_with("start \u{e9}") && cut.ends_with("\u{e9} end"), "{cut}");
        assert_eq!(cut.chars().count(), SHOWN_START + GAP.len() + SHOWN_END);
        assert_eq!(clean(&cut, &[]), cut);
    }

    #[test]
    fn secrets_and_signed_texts_are_masked() {
        let (secret, token) = ("wJalr/UtnFEMI+bPx", "To/ken+with==Signs-and_dots.");
        let masked = |message: &str| clean(message, &[secret, token, "", "abc"]);
        for message in [
            secret.to_owned(),
            token.to_owned(),
            "To%2Fken%2Bwith%3D%3DSigns-and_dots.".to_owned(),
            "To%2fken%2bwith%3d%3dSigns-and_dots.".to_owned(),
            "To%2Fken%2Bwith%3D%3DSigns%2Dand%5Fdots%2E".to_owned(),
            "wJalr%2fUtnFEMI%2bbPx".to_owned(),
            "wJalr\\/UtnFEMI+bPx".to_owned(),
        ] {
            assert_eq!(masked(&format!("no: {message}, abc")), "no: ***, abc");
        }
        assert_eq!(masked("x AWS4-HMAC-SHA256 Credential=a, Signature=b"), "x ***");
        assert_eq!(masked("https://h/?X-Amz-Signature=0a1b&x"), "https://h/?X-Amz-***");
        // A secret that is cut in half would not be found afterwards.
        let long = format!("{}{secret}{}", "a".repeat(SHOWN_START - 5), "b".repeat(400));
        assert!(!masked(&long).contains("wJalr"));
    }
}
