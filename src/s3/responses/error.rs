//! Error bodies.

use serde::Deserialize;

use crate::error::Cause;

/// The code and the message of an error.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ErrorBody {
    pub code: String,
    #[serde(default)]
    pub message: String,
}

/// Parses an error body. `None` if the text is something else.
pub(crate) fn parse_error(xml: &str) -> Option<ErrorBody> {
    quick_xml::de::from_str(xml).ok()
}

/// Parses an error that is in another element, as some servers send it. Not for responses that succeeded:
/// those to DeleteObjects have an error for each key.
pub(crate) fn parse_nested_error(xml: &str) -> Option<ErrorBody> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Nested {
        error: ErrorBody,
    }
    quick_xml::de::from_str(xml).ok().map(|body: Nested| body.error)
}

/// The region that an error body names as the right one.
pub(crate) fn parse_region(xml: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RegionBody {
        region: String,
    }
    let body: RegionBody = quick_xml::de::from_str(xml).ok()?;
    Some(body.region).filter(|region| !region.is_empty())
}

/// Returns the error that the body of a response with status 200 may contain.
pub(crate) fn check_success(xml: &str) -> Result<(), Cause> {
    match parse_error(xml) {
        None => Ok(()),
        Some(ErrorBody { code, message }) => {
            Err(Cause::S3 { status: 200, code, message, retry_after: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_without_a_message_is_parsed() {
        let expected = ErrorBody { code: "A".to_owned(), message: String::new() };
        assert_eq!(parse_error("<Error><Code>A</Code></Error>"), Some(expected));
    }

    #[test]
    fn error_in_another_element_is_parsed() {
        let xml = "<ErrorResponse><Error><Type>x</Type><Code>A</Code><Message>b</Message></Error>\
                   <RequestId>1</RequestId></ErrorResponse>";
        let expected = ErrorBody { code: "A".to_owned(), message: "b".to_owned() };
        assert_eq!(parse_nested_error(xml), Some(expected));
        assert_eq!(parse_nested_error("<Error><Code>A</Code></Error>"), None);
        assert!(check_success(xml).is_ok());
    }
}
