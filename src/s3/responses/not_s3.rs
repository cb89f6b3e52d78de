//! Bodies that do not come from an S3 server: web pages, JSON, plain text.

use quick_xml::escape::unescape;

use crate::s3::xml::for_each_element;

/// What to do if the response is not one of S3.
const CHECK_ENDPOINT: &str =
    "is the endpoint the address of a web console or website instead of the S3 API?";

/// How many characters of a text are kept. A message is shortened further.
const MAX_TEXT: usize = 2_000;

/// Where a web page that starts like XML must show that it is one, in bytes. A listing may be long.
const MAX_START: usize = 1 << 10;

/// Describes a body that should be XML, but is a web page or JSON. `None` if it may be XML.
pub(crate) fn describe(body: &str) -> Option<String> {
    let body = body.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if is_web_page(body) {
        let title = title(body);
        let title = title.map(|title| format!(" with the title \"{title}\"")).unwrap_or_default();
        return Some(format!("a web page{title}; {CHECK_ENDPOINT}"));
    }
    let is_json = body.starts_with(['{', '[']);
    is_json.then(|| format!("JSON instead of XML: {}; {CHECK_ENDPOINT}", start(body)))
}

/// The message of an error whose body is not that of S3: the title of a web page, the text in the elements
/// of other XML, or the text itself.
pub(crate) fn message(status: u16, body: &str) -> String {
    let body = body.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    // Statuses that a server sends for an address or method that it does not know. The others come
    // from a proxy in front of the right server.
    let may_be_another_server = matches!(status, 400 | 401 | 403 | 404 | 405 | 501);
    if !is_web_page(body) {
        return start(&if body.starts_with('<') { text_of_xml(body) } else { body.to_owned() });
    }
    match (title(body), may_be_another_server) {
        (Some(title), true) => format!("a web page with the title \"{title}\"; {CHECK_ENDPOINT}"),
        (None, true) => format!("a web page; {CHECK_ENDPOINT}"),
        (Some(title), false) => format!("a web page with the title \"{title}\""),
        (None, false) => "a web page".to_owned(),
    }
}

fn is_web_page(body: &str) -> bool {
    let starts_with = |start: &str| {
        body.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    let is_element =
        |name: &str| find(&body.as_bytes()[..body.len().min(MAX_START)], name).is_some();
    ["<!doctype html", "<html", "<head", "<title"].into_iter().any(starts_with)
        // XHTML, after an XML declaration or a comment.
        || (body.starts_with('<')
            && (is_element("<!doctype html") || is_element("<html") && is_element("<body")))
}

/// The title of a web page, or its first heading.
fn title(page: &str) -> Option<String> {
    ["title", "h1"].into_iter().find_map(|name| {
        let open = find(page.as_bytes(), &format!("<{name}"))?;
        let start = open + page[open..].find('>')? + 1;
        let end = start + find(&page.as_bytes()[start..], &format!("</{name}"))?;
        let text = page[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let text = unescape(&text).map(|text| text.into_owned()).unwrap_or(text);
        (!text.is_empty()).then_some(text)
    })
}

/// The text in the elements of XML, as far as it can be parsed.
fn text_of_xml(xml: &str) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut length = 0;
    let add = |_: &str, text: &str| {
        if !text.trim().is_empty() && length < MAX_TEXT {
            length += text.len();
            texts.push(text.trim().to_owned());
        }
        Ok(())
    };
    // XML that ends early has some text, too.
    _ = for_each_element("error", xml, add);
    texts.join(" ")
}

/// Finds ASCII text, whatever the case.
fn find(text: &[u8], part: &str) -> Option<usize> {
    text.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

fn start(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\u{feff}\n<!DOCTYPE html>\n<html lang=en><head><TITLE class='x'>\n Store &amp; \
                        Console\n</TITLE></head><body>x</body></html>";

    #[test]
    fn web_page_is_recognized_and_its_title_shown() {
        let text = describe(PAGE).unwrap();
        assert!(
            text.starts_with("a web page with the title \"Store & Console\"; is the"),
            "{text}"
        );
        for page in [
            "<html></html>",
            "<HTML><BODY>",
            "<title></title>",
            "<?xml version=\"1.0\"?><html xmlns='h'><body/></html>",
            "<!-- nginx --><html><body></body></html>",
            "<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC 'x'>\n<html>",
        ] {
            assert!(describe(page).unwrap().starts_with("a web page; is"), "{page}");
        }
        assert!(describe("<h1>x</h1>").is_none());
        let heading = "<html><h1>502 <b>Bad</b></h1>";
        assert_eq!(message(502, heading), "a web page with the title \"502 <b>Bad</b>\"");
        assert!(message(404, PAGE).ends_with("instead of the S3 API?"));
    }

    #[test]
    fn xml_of_s3_is_not_a_web_page() {
        for xml in [
            "",
            "<ListBucketResult/>",
            "<?xml version=\"1.0\"?><Error><Code>a</Code></Error>",
            "<ListBucketResult><Contents><Key>&lt;html>&lt;body></Key></Contents></ListBucketResult>",
        ] {
            assert_eq!(describe(xml), None, "{xml}");
        }
    }

    #[test]
    fn text_of_other_xml_is_shown() {
        for (xml, text) in [
            ("", ""),
            ("<Error/>", ""),
            ("<Error><Message> no &amp; never </Message><Id>1</Id></Error>", "no & never 1"),
            ("<error>\n<code>a</code>\n<detail>cut off", "a"),
            ("<<", ""),
        ] {
            assert_eq!(message(404, xml), text, "{xml}");
        }
        let long = "<e><m>a</m></e>".repeat(10_000);
        assert!(message(404, &long).len() <= 2 * MAX_TEXT);
    }

    #[test]
    fn json_and_plain_text_are_shown() {
        let json = "{\"message\":\"Forbidden\"}";
        assert!(describe(json).unwrap().starts_with("JSON instead of XML: {\"message\""));
        assert_eq!(message(403, json), json);
        assert_eq!(message(404, "404 page not found\n"), "404 page not found");
        assert_eq!(message(404, &"\u{e9}".repeat(10_000)).chars().count(), MAX_TEXT);
        assert_eq!(describe("plain text"), None);
    }
}
