//! The response to DeleteObjects.

use std::mem;

use crate::{
    error::Cause,
    s3::{responses::error::check_success, xml::for_each_element},
};

/// The outcome of each key of a DeleteObjects request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteResult {
    /// The keys that were deleted.
    pub deleted: Vec<String>,
    pub failed: Vec<FailedDeletion>,
}

/// A key that was not deleted, and the error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FailedDeletion {
    pub key: String,
    pub code: String,
    pub message: String,
}

/// Parses the response to DeleteObjects.
pub(crate) fn parse_deleted(xml: &str) -> Result<DeleteResult, Cause> {
    check_success(xml)?;
    let (mut result, mut is_result) = (DeleteResult::default(), false);
    let (mut key, mut code, mut message) = (None, String::new(), String::new());
    // Element by element: some stores mix `Deleted` and `Error` elements.
    for_each_element("DeleteObjects", xml, |path, text| {
        match path {
            "/DeleteResult/Deleted/Key" | "/DeleteResult/Error/Key" => key = Some(text.to_owned()),
            "/DeleteResult/Error/Code" => text.clone_into(&mut code),
            "/DeleteResult/Error/Message" => text.clone_into(&mut message),
            "/DeleteResult/Deleted" => result.deleted.extend(key.take()),
            "/DeleteResult/Error" => {
                let (code, message) = (mem::take(&mut code), mem::take(&mut message));
                result.failed.extend(key.take().map(|key| FailedDeletion { key, code, message }));
            }
            "/DeleteResult" => is_result = true,
            _ => {}
        }
        Ok(())
    })?;
    if !is_result {
        return Err(Cause::Malformed("DeleteObjects: there is no DeleteResult".to_owned()));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_and_failed_keys_may_come_in_any_order() {
        let deleted = |key: &str| format!("<Deleted><Key>{key}</Key></Deleted>\n");
        let failed = |key: &str, more: &str| {
            format!("<Error><Key>{key}</Key><Code>AccessDenied</Code>{more}</Error>")
        };
        let elements = [
            deleted("a&amp;&quot;"),
            failed("b", "<Message>no</Message>"),
            deleted("c"),
            failed("d", ""),
        ];
        let xml = format!("<DeleteResult xmlns=\"x\">{}</DeleteResult>", elements.concat());
        let failure = |key: &str, message: &str| FailedDeletion {
            key: key.to_owned(),
            code: "AccessDenied".to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(
            parse_deleted(&xml).unwrap(),
            DeleteResult {
                deleted: vec!["a&\"".to_owned(), "c".to_owned()],
                failed: vec![failure("b", "no"), failure("d", "")],
            }
        );
        assert_eq!(parse_deleted("<DeleteResult/>").unwrap(), DeleteResult::default());
        for text in ["", "<DeleteResult>", "<DeleteResult><Deleted><Key>a</Key>"] {
            assert!(parse_deleted(text).is_err(), "{text}");
        }
    }
}
