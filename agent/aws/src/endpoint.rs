//! The addresses of services: AWS's rule for endpoints, for services without an SDK crate.
//!
//! The rule is `prefix[-fips].region.suffix`, with the partition's suffix or its dual-stack suffix (partitions.json of
//! AWS's SDKs; "AWS service endpoints" in the General Reference).

use aws_config::Region;
use reqwest::Url;

/// The kind of endpoint to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChoice {
    /// Only endpoints whose cryptography is validated (`AWS_USE_FIPS_ENDPOINT`).
    pub fips: bool,
    /// Endpoints that answer on IPv6 as well (`AWS_USE_DUALSTACK_ENDPOINT`).
    pub dual_stack: bool,
    /// One URL for every service (`AWS_ENDPOINT_URL`): an emulator, or a private gateway.
    pub url: Option<Url>,
}

/// There is no URL for a service.
#[derive(Debug, thiserror::Error)]
#[error("the service {prefix:?} has no endpoint in the region {region:?}: {problem}; is the region's name right?")]
pub struct InvalidEndpoint {
    prefix: String,
    region: String,
    problem: String,
}

struct Partition {
    /// The beginning of its regions' names.
    regions: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
}

/// The last one takes every region that no other partition names, as AWS's SDKs do.
const PARTITIONS: [Partition; 7] = [
    Partition { regions: "cn-", suffix: "amazonaws.com.cn", dual_stack_suffix: "api.amazonwebservices.com.cn" },
    Partition { regions: "eusc-", suffix: "amazonaws.eu", dual_stack_suffix: "api.amazonwebservices.eu" },
    Partition { regions: "us-iso-", suffix: "c2s.ic.gov", dual_stack_suffix: "api.aws.ic.gov" },
    Partition { regions: "us-isob-", suffix: "sc2s.sgov.gov", dual_stack_suffix: "api.aws.scloud" },
    Partition { regions: "eu-isoe-", suffix: "cloud.adc-e.uk", dual_stack_suffix: "api.cloud-aws.adc-e.uk" },
    Partition { regions: "us-isof-", suffix: "csp.hci.ic.gov", dual_stack_suffix: "api.aws.hci.ic.gov" },
    Partition { regions: "", suffix: "amazonaws.com", dual_stack_suffix: "api.aws" },
];

/// The URL of a service, by its endpoint prefix (`kms`, `codedeploy-commands`; mostly, but not always, its signing
/// name).
///
/// # Errors
/// The region is not a valid part of a host name.
pub fn endpoint(prefix: &str, region: &Region, choice: &EndpointChoice) -> Result<Url, InvalidEndpoint> {
    if let Some(url) = &choice.url {
        return Ok(url.clone());
    }
    let invalid =
        |problem: String| InvalidEndpoint { prefix: prefix.to_owned(), region: region.as_ref().to_owned(), problem };
    let label = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !label(region.as_ref()) {
        return Err(invalid("a region is letters, digits and hyphens".to_owned()));
    }
    let [.., standard] = &PARTITIONS;
    let partition = PARTITIONS.iter().find(|p| region.as_ref().starts_with(p.regions)).unwrap_or(standard);
    let suffix = if choice.dual_stack { partition.dual_stack_suffix } else { partition.suffix };
    let fips = if choice.fips { "-fips" } else { "" };
    Url::parse(&format!("https://{prefix}{fips}.{region}.{suffix}/")).map_err(|e| invalid(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prefix: &str, region: &'static str, choice: &EndpointChoice) -> String {
        endpoint(prefix, &Region::from_static(region), choice).unwrap().to_string()
    }

    #[test]
    fn each_partition_has_its_own_names() {
        let standard = EndpointChoice::default();
        let fips = EndpointChoice { fips: true, ..EndpointChoice::default() };
        let dual_stack = EndpointChoice { dual_stack: true, ..EndpointChoice::default() };
        let both = EndpointChoice { fips: true, dual_stack: true, ..EndpointChoice::default() };
        assert_eq!(of("kms", "eu-central-1", &standard), "https://kms.eu-central-1.amazonaws.com/");
        assert_eq!(of("kms", "us-gov-west-1", &fips), "https://kms-fips.us-gov-west-1.amazonaws.com/");
        assert_eq!(of("logs", "us-east-1", &dual_stack), "https://logs.us-east-1.api.aws/");
        assert_eq!(of("logs", "ca-west-1", &both), "https://logs-fips.ca-west-1.api.aws/");
        assert_eq!(of("sqs", "cn-north-1", &standard), "https://sqs.cn-north-1.amazonaws.com.cn/");
        assert_eq!(of("sqs", "cn-north-1", &dual_stack), "https://sqs.cn-north-1.api.amazonwebservices.com.cn/");
        assert_eq!(of("sqs", "us-iso-east-1", &standard), "https://sqs.us-iso-east-1.c2s.ic.gov/");
        assert_eq!(of("sqs", "us-isob-east-1", &standard), "https://sqs.us-isob-east-1.sc2s.sgov.gov/");
        assert_eq!(of("sqs", "eusc-de-east-1", &standard), "https://sqs.eusc-de-east-1.amazonaws.eu/");
        assert_eq!(of("sqs", "mx-central-1", &standard), "https://sqs.mx-central-1.amazonaws.com/");
    }

    #[test]
    fn a_url_of_ones_own_wins() {
        let url = Some("http://127.0.0.1:5000".parse().unwrap());
        let choice = EndpointChoice { fips: true, url, ..EndpointChoice::default() };
        assert_eq!(of("sqs", "eu-central-1", &choice), "http://127.0.0.1:5000/");
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        for region in ["", "eu-central-1.example.com/", "eu@example.com", "eu-central-1#"] {
            let problem = endpoint("kms", &Region::new(region), &EndpointChoice::default()).unwrap_err().to_string();
            assert!(problem.contains("is the region's name right"), "{problem}");
        }
    }
}
