//! The host names of AWS.
//!
//! A region belongs to a partition, and the partition has a domain of its own. The names follow the
//! endpoint rules that AWS publishes with its SDKs (`partitions.json` and `endpoint-rule-set-1.json`
//! in botocore). Regions are recognized by pattern, so that new ones need no new release.

use crate::{
    error::Cause,
    model::access_point::AccessPoint,
    s3::{env::Env, profile::Profile},
};

/// A group of regions with a domain of its own.
struct Partition {
    /// The start of the names of its regions. The rest is a direction and a number: `west-1`.
    region_prefix: &'static str,
    domain: &'static str,
    /// The domain of most dual-stack endpoints. Those of S3 are in `domain`.
    dual_stack_domain: &'static str,
}

/// All partitions but the first one. They have prefixes of their own.
const OTHER_PARTITIONS: [Partition; 7] = [
    partition("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    partition("us-gov-", "amazonaws.com", "api.aws"),
    partition("eusc-de-", "amazonaws.eu", "api.amazonwebservices.eu"),
    partition("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    partition("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    partition("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    partition("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
];

/// The partition of all other regions: `eu-west-1`.
const FIRST_PARTITION: Partition = partition("", "amazonaws.com", "api.aws");

const fn partition(
    region_prefix: &'static str,
    domain: &'static str,
    dual_stack_domain: &'static str,
) -> Partition {
    Partition { region_prefix, domain, dual_stack_domain }
}

impl Partition {
    fn of_region(region: &str) -> Option<&'static Partition> {
        let other = OTHER_PARTITIONS.iter().find_map(|partition| {
            region.strip_prefix(partition.region_prefix).map(|rest| (partition, rest))
        });
        let (partition, place) = match other {
            Some(found) => found,
            None => {
                let (geography, place) = region.split_once('-')?;
                let is_geography =
                    geography.len() == 2 && geography.bytes().all(|b| b.is_ascii_lowercase());
                (is_geography.then_some(&FIRST_PARTITION)?, place)
            }
        };
        let (direction, number) = place.split_once('-')?;
        let is_place = !direction.is_empty()
            && direction.bytes().all(|b| b.is_ascii_lowercase())
            // Backblaze has `us-west-004`.
            && !number.starts_with('0')
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit());
        is_place.then_some(partition)
    }
}

/// Whether a host belongs to AWS.
pub(super) fn is_aws_host(host: &str) -> bool {
    let is_below = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    OTHER_PARTITIONS
        .iter()
        .chain([&FIRST_PARTITION])
        .any(|partition| is_below(partition.domain) || is_below(partition.dual_stack_domain))
}

/// Which of the endpoints of AWS to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AwsEndpoints {
    /// Those that are reachable over IPv6, too.
    pub dual_stack: bool,
    /// Those with cryptography that is validated for FIPS 140.
    pub fips: bool,
}

impl AwsEndpoints {
    /// The [settings] of the environment and the profile.
    ///
    /// [settings]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
    pub(super) fn configured(env: &Env, profile: &Profile) -> AwsEndpoints {
        let is_on = |variable: &'static str, setting: &str| match env.get(variable) {
            Some(value) => value.eq_ignore_ascii_case("true"),
            None => profile.is_true_for_s3(setting),
        };
        AwsEndpoints {
            dual_stack: is_on("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
            fips: is_on("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
        }
    }

    /// The host of S3 in a region.
    pub(super) fn s3_host(self, region: &str) -> Result<String, Cause> {
        self.regional_host("s3", region)
    }

    /// The host of an access point.
    pub(super) fn access_point_host(self, point: &AccessPoint) -> Result<String, Cause> {
        let host = self.regional_host("s3-accesspoint", &point.region)?;
        Ok(format!("{}-{}.{host}", point.name, point.account))
    }

    fn regional_host(self, service: &str, region: &str) -> Result<String, Cause> {
        let partition = Partition::of_region(region).ok_or_else(|| {
            Cause::Config(format!(
                "region {region}: not a region of AWS, such as eu-west-1; for another store, set \
                 its URL with --endpoint-url"
            ))
        })?;
        if self.fips && partition.region_prefix == "cn-" {
            let cause = format!("region {region}: S3 in China has no FIPS endpoints");
            return Err(Cause::Config(cause));
        }
        let fips = if self.fips { "-fips" } else { "" };
        let dual_stack = if self.dual_stack { ".dualstack" } else { "" };
        Ok(format!("{service}{fips}{dual_stack}.{region}.{}", partition.domain))
    }

    /// The host of the Security Token Service in a region. `None` if the region is not one of AWS.
    pub(super) fn sts_host(self, region: &str) -> Option<String> {
        self.issuer_host("sts", region)
    }

    /// The host of the portal of IAM Identity Center in a region. `None` if the region is not one of
    /// AWS.
    pub(super) fn sso_portal_host(self, region: &str) -> Option<String> {
        self.issuer_host("portal.sso", region)
    }

    /// The host of a service that issues credentials.
    fn issuer_host(self, service: &str, region: &str) -> Option<String> {
        let partition = Partition::of_region(region)?;
        let domain = if self.dual_stack { partition.dual_stack_domain } else { partition.domain };
        // The usual endpoints of GovCloud are FIPS endpoints.
        let is_usual = !self.fips || (partition.region_prefix == "us-gov-" && !self.dual_stack);
        let fips = if is_usual { "" } else { "-fips" };
        Some(format!("{service}{fips}.{region}.{domain}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(dual_stack: bool, fips: bool) -> AwsEndpoints {
        AwsEndpoints { dual_stack, fips }
    }

    #[test]
    fn every_partition_has_its_domain() {
        for (region, domain, dual_stack_domain) in [
            ("us-east-1", "amazonaws.com", "api.aws"),
            ("ap-southeast-7", "amazonaws.com", "api.aws"),
            ("xx-new-12", "amazonaws.com", "api.aws"),
            ("cn-northwest-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
            ("eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"),
            ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
        ] {
            let plain = endpoints(false, false);
            assert_eq!(plain.s3_host(region).unwrap(), format!("s3.{region}.{domain}"));
            assert_eq!(plain.sts_host(region).unwrap(), format!("sts.{region}.{domain}"));
            let dual_stack = endpoints(true, false);
            let host = dual_stack.s3_host(region).unwrap();
            assert_eq!(host, format!("s3.dualstack.{region}.{domain}"));
            let host = dual_stack.sts_host(region).unwrap();
            assert_eq!(host, format!("sts.{region}.{dual_stack_domain}"));
            assert!(is_aws_host(&host), "{host}");
        }
    }

    #[test]
    fn fips_endpoints_have_names_of_their_own() {
        let fips = endpoints(false, true);
        assert_eq!(fips.s3_host("us-east-2").unwrap(), "s3-fips.us-east-2.amazonaws.com");
        assert_eq!(fips.sts_host("us-east-2").unwrap(), "sts-fips.us-east-2.amazonaws.com");
        assert_eq!(fips.sts_host("us-gov-east-1").unwrap(), "sts.us-gov-east-1.amazonaws.com");
        assert!(fips.s3_host("cn-north-1").unwrap_err().to_string().contains("FIPS"));
        let both = endpoints(true, true);
        let host = both.s3_host("us-gov-west-1").unwrap();
        assert_eq!(host, "s3-fips.dualstack.us-gov-west-1.amazonaws.com");
        assert_eq!(both.sts_host("us-gov-west-1").unwrap(), "sts-fips.us-gov-west-1.api.aws");
        let host = fips.sso_portal_host("eu-west-1").unwrap();
        assert_eq!(host, "portal.sso-fips.eu-west-1.amazonaws.com");
    }

    #[test]
    fn access_point_has_a_host_in_its_region() {
        let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs";
        let point = AccessPoint::parse(arn).unwrap();
        let host =
            |dual_stack, fips| endpoints(dual_stack, fips).access_point_host(&point).unwrap();
        assert_eq!(host(false, false), "logs-123456789012.s3-accesspoint.eu-west-1.amazonaws.com");
        assert_eq!(
            host(true, true),
            "logs-123456789012.s3-accesspoint-fips.dualstack.eu-west-1.amazonaws.com"
        );
    }

    #[test]
    fn regions_of_other_stores_are_not_regions_of_aws() {
        for region in [
            "",
            "nyc3",
            "auto",
            "fr-par",
            "wa-us-east-1",
            "us-west-004",
            "ru-central1",
            "us--1",
            "us-gov-1",
            "aws-global",
            "us-east-1a",
            "us-east-",
            "US-EAST-1",
            "us-east-1.evil",
        ] {
            let error = AwsEndpoints::default().s3_host(region).unwrap_err().to_string();
            assert!(error.contains("--endpoint-url"), "{region}: {error}");
            assert_eq!(AwsEndpoints::default().sts_host(region), None, "{region}");
        }
        assert!(!is_aws_host("s3.notamazonaws.com") && !is_aws_host("nyc3.example.com"));
    }
}
