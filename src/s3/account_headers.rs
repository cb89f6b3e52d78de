//! The headers about AWS accounts that every request carries.

use http::HeaderName;

use crate::error::{Error, Result};

const X_AMZ_REQUEST_PAYER: HeaderName = HeaderName::from_static("x-amz-request-payer");
const X_AMZ_EXPECTED_BUCKET_OWNER: HeaderName =
    HeaderName::from_static("x-amz-expected-bucket-owner");

/// Which account pays for the requests, and which account must own the bucket.
///
/// Every operation that s3keep uses accepts both headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountHeaders {
    requester_pays: bool,
    bucket_owner: Option<String>,
}

impl AccountHeaders {
    /// # Errors
    /// The owner is not the number of an account, or unsigned requests are to be paid for.
    pub(super) fn new(
        requester_pays: bool,
        bucket_owner: Option<String>,
        unsigned: bool,
    ) -> Result<AccountHeaders> {
        if requester_pays && unsigned {
            return Err(Error::config(
                "--request-payer needs credentials, whose account is charged: remove --unsigned",
            ));
        }
        if let Some(owner) = &bucket_owner
            && (owner.len() != 12 || !owner.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(Error::config(format!(
                "--expected-bucket-owner {owner:?}: not the number of an AWS account; use its 12 digits"
            )));
        }
        Ok(AccountHeaders { requester_pays, bucket_owner })
    }

    /// The headers and their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HeaderName, &str)> {
        let payer = self.requester_pays.then_some((X_AMZ_REQUEST_PAYER, "requester"));
        let owner = self.bucket_owner.as_deref();
        payer.into_iter().chain(owner.map(|owner| (X_AMZ_EXPECTED_BUCKET_OWNER, owner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_has_twelve_digits() {
        let new = |owner: &str| AccountHeaders::new(false, Some(owner.to_owned()), false);
        let headers = new("012345678901").unwrap();
        assert_eq!(headers.iter().map(|(_, value)| value).collect::<Vec<_>>(), ["012345678901"]);
        for owner in
            ["", "12345678901", "1234567890123", "1234-5678-901", "12345678901a", "１２３４"]
        {
            let error = new(owner).unwrap_err().to_string();
            assert!(error.contains("--expected-bucket-owner") && error.contains("12 digits"));
        }
    }

    #[test]
    fn unsigned_requests_cannot_be_paid_for() {
        assert!(
            AccountHeaders::new(true, None, true).unwrap_err().to_string().contains("--unsigned")
        );
        assert_eq!(AccountHeaders::new(true, None, false).unwrap().iter().count(), 1);
        assert_eq!(AccountHeaders::default().iter().count(), 0);
    }
}
