//! The ARN of an S3 access point, which may stand in the place of a bucket name.

/// An access point: `arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessPoint {
    pub region: String,
    pub account: String,
    pub name: String,
}

/// What every ARN starts with.
pub(crate) const ARN: &str = "arn:";

impl AccessPoint {
    /// Parses an [ARN], or returns why it cannot be used.
    ///
    /// [ARN]: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
    pub(crate) fn parse(arn: &str) -> Result<AccessPoint, &'static str> {
        const FORM: &str = "an ARN has the form arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME";
        let fields: Vec<&str> = arn.splitn(6, ':').collect();
        let &["arn", partition, service, region, account, resource] = &fields[..] else {
            return Err(FORM);
        };
        let (kind, name) = resource.split_once(['/', ':']).ok_or(FORM)?;
        match (service, kind, region) {
            ("s3", "accesspoint", "") => {
                return Err(
                    "multi-region access points are not supported; use the access point of \
                            one region",
                );
            }
            ("s3", "accesspoint", _) => {}
            ("s3-outposts" | "s3-object-lambda" | "s3express", _, _) => {
                return Err("of all ARNs, only those of S3 access points are supported");
            }
            _ => return Err(FORM),
        }
        let is_name = |text: &str, extra: &[u8]| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.contains(&b))
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !is_name(partition, b"-")
            || !is_name(region, b"-")
            || !is_account
            || !is_name(name, b"-")
        {
            return Err(FORM);
        }
        Ok(AccessPoint {
            region: region.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arn_of_an_access_point_is_parsed() {
        for separator in ["/", ":"] {
            let arn =
                format!("arn:aws-us-gov:s3:us-gov-west-1:123456789012:accesspoint{separator}a-b");
            let point = AccessPoint::parse(&arn).unwrap();
            assert_eq!(point.region, "us-gov-west-1");
            assert_eq!((&*point.account, &*point.name), ("123456789012", "a-b"));
        }
    }

    #[test]
    fn other_arns_are_rejected_with_a_reason() {
        for (arn, reason) in [
            ("arn:aws:s3:::bucket", "form"),
            ("arn:aws:s3::123456789012:accesspoint:abc.mrap", "multi-region"),
            ("arn:aws:s3-outposts:r-a-1:123456789012:outpost/op/accesspoint/x", "only those"),
            ("arn:aws:s3-object-lambda:r-a-1:123456789012:accesspoint/x", "only those"),
            ("arn:aws:s3:r-a-1:12345:accesspoint/x", "form"),
            ("arn:aws:s3:r.evil:123456789012:accesspoint/x", "form"),
            ("arn:aws:s3:r-a-1:123456789012:accesspoint/X.y", "form"),
            ("arn:aws:s3:r-a-1:123456789012:accesspoint/", "form"),
            ("arn:", "form"),
        ] {
            let error = AccessPoint::parse(arn).unwrap_err();
            assert!(error.contains(reason), "{arn}: {error}");
        }
    }
}
