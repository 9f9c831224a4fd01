//! The address of the command service and the form of its requests (docs/protocols/codedeploy.md#endpoint,
//! docs/protocols/codedeploy.md#calls).

/// Regions in which the service has FIPS endpoints.
const FIPS_REGIONS: [&str; 5] = ["us-east-1", "us-east-2", "us-west-1", "us-gov-west-1", "us-gov-east-1"];

/// The service's endpoint for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Beginning of every request's address, without a slash at its end.
    pub url: String,
    /// Service name of the signatures.
    pub signing_name: &'static str,
    /// The part before the dot in the target header.
    pub target_prefix: &'static str,
}

/// The settings that determine the endpoint.
#[derive(Debug, Clone, Default)]
pub struct EndpointChoice<'a> {
    /// The host's region.
    pub region: &'a str,
    /// The partition's domain from the metadata service; `None` without a metadata service.
    pub metadata_domain: Option<&'a str>,
    /// `deploy_control_endpoint`.
    pub address: Option<&'a str>,
    /// `enable_auth_policy`: the secure variant, which authorises by policy.
    pub secure: bool,
    /// `use_fips_mode`.
    pub fips: bool,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// The region has no FIPS endpoint.
    #[error(
        "use_fips_mode is on and {0} has no FIPS endpoint of CodeDeploy (us-east-1, us-east-2, us-west-1, us-gov-west-1 and us-gov-east-1 have); turn it off or move"
    )]
    NoFips(String),
    /// The text is not the name of a region.
    #[error("{0:?} is not the name of a region")]
    Region(String),
    /// The metadata service names a domain outside AWS.
    #[error(
        "the metadata service names the domain {domain:?} for {region:?}, where credentials must not be sent; set deploy_control_endpoint if that is right"
    )]
    Domain {
        /// The domain.
        domain: String,
        /// The region.
        region: String,
    },
    /// The configured address cannot be used.
    #[error("deploy_control_endpoint is {0:?} and must begin with https://")]
    Address(String),
}

/// The endpoint for these settings. Plain http is allowed only for addresses of this host, for tests and tunnels.
///
/// # Errors
/// See [`NoEndpoint`].
pub fn endpoint(choice: &EndpointChoice<'_>) -> Result<Endpoint, NoEndpoint> {
    let region = choice.region;
    if region.is_empty()
        || region.len() > 20
        || !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err(NoEndpoint::Region(region.to_owned()));
    }
    if choice.fips && !FIPS_REGIONS.contains(&region) {
        return Err(NoEndpoint::NoFips(region.to_owned()));
    }
    let (signing_name, target_prefix) = match choice.secure {
        true => ("codedeploy-commands-secure", "CodeDeployCommandService"),
        false => ("codedeploy-commands", "CodeDeployCommandService_v20141006"),
    };
    let url = match choice.address {
        Some(address) => checked(address)?,
        None => {
            let fips = if choice.fips { "-fips" } else { "" };
            format!("https://{signing_name}{fips}.{region}.{}", domain(choice)?)
        }
    };
    Ok(Endpoint { url, signing_name, target_prefix })
}

fn checked(address: &str) -> Result<String, NoEndpoint> {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
        .iter()
        .any(|prefix| address.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
    if address.starts_with("https://") || local {
        return Ok(address.trim_end_matches('/').to_owned());
    }
    Err(NoEndpoint::Address(address.to_owned()))
}

fn domain<'a>(choice: &EndpointChoice<'a>) -> Result<&'a str, NoEndpoint> {
    let region = choice.region;
    match choice.metadata_domain {
        Some("amazonaws.com.cn") if region.starts_with("cn-") => Ok("amazonaws.com.cn"),
        Some(domain @ ("amazonaws.com" | "amazonaws.eu")) => Ok(domain),
        Some(domain) => Err(NoEndpoint::Domain { domain: domain.to_owned(), region: region.to_owned() }),
        None if region == "eusc-de-east-1" => Ok("amazonaws.eu"),
        None if region.starts_with("cn-") => Ok("amazonaws.com.cn"),
        None => Ok("amazonaws.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(region: &str) -> EndpointChoice<'_> {
        EndpointChoice { region, ..EndpointChoice::default() }
    }

    fn url(choice: &EndpointChoice<'_>) -> String {
        endpoint(choice).unwrap().url
    }

    #[test]
    fn every_partition_and_variant_has_its_address() {
        assert_eq!(url(&choice("eu-west-1")), "https://codedeploy-commands.eu-west-1.amazonaws.com");
        assert_eq!(url(&choice("cn-north-1")), "https://codedeploy-commands.cn-north-1.amazonaws.com.cn");
        assert_eq!(url(&choice("eusc-de-east-1")), "https://codedeploy-commands.eusc-de-east-1.amazonaws.eu");
        let fips = EndpointChoice { fips: true, ..choice("us-east-1") };
        assert_eq!(url(&fips), "https://codedeploy-commands-fips.us-east-1.amazonaws.com");
        let both = EndpointChoice { secure: true, ..fips };
        assert_eq!(url(&both), "https://codedeploy-commands-secure-fips.us-east-1.amazonaws.com");
        let metadata = EndpointChoice { metadata_domain: Some("amazonaws.eu"), ..choice("eusc-de-east-2") };
        assert_eq!(url(&metadata), "https://codedeploy-commands.eusc-de-east-2.amazonaws.eu");
    }

    #[test]
    fn the_secure_variant_has_its_own_target_and_signing_name() {
        let normal = endpoint(&choice("eu-west-1")).unwrap();
        assert_eq!(normal.target_prefix, "CodeDeployCommandService_v20141006");
        assert_eq!(normal.signing_name, "codedeploy-commands");
        let secure = endpoint(&EndpointChoice { secure: true, ..choice("eu-west-1") }).unwrap();
        assert_eq!(secure.target_prefix, "CodeDeployCommandService");
        assert_eq!(secure.signing_name, "codedeploy-commands-secure");
    }

    #[test]
    fn an_address_is_used_as_it_is_and_never_in_the_clear_over_a_network() {
        let with = |address| endpoint(&EndpointChoice { address: Some(address), ..choice("eu-west-1") });
        assert_eq!(with("https://proxy.example:8443/").unwrap().url, "https://proxy.example:8443");
        assert_eq!(with("http://127.0.0.1:99").unwrap().url, "http://127.0.0.1:99");
        for bad in ["http://example.com", "http://127.0.0.1.example.com", "http://localhost@example.com", "example.com"]
        {
            assert_eq!(with(bad), Err(NoEndpoint::Address(bad.to_owned())));
        }
    }

    #[test]
    fn nothing_foreign_becomes_part_of_an_address() {
        assert!(matches!(endpoint(&choice("eu-west-1.evil.com/")), Err(NoEndpoint::Region(_))));
        assert!(matches!(endpoint(&choice("")), Err(NoEndpoint::Region(_))));
        let foreign = EndpointChoice { metadata_domain: Some("evil.com"), ..choice("eu-west-1") };
        assert!(matches!(endpoint(&foreign), Err(NoEndpoint::Domain { .. })));
        let china = EndpointChoice { metadata_domain: Some("amazonaws.com.cn"), ..choice("eu-west-1") };
        assert!(matches!(endpoint(&china), Err(NoEndpoint::Domain { .. })));
        let fips = EndpointChoice { fips: true, ..choice("eu-west-1") };
        assert_eq!(endpoint(&fips), Err(NoEndpoint::NoFips("eu-west-1".to_owned())));
    }
}
