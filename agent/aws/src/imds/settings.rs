//! The address of the instance metadata service, in the words of the SDKs.

use std::time::Duration;

use super::ImdsFault;

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// The address of the service, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsSettings {
    /// The address without a path, as in `http://169.254.169.254`.
    pub endpoint: String,
    /// Longest wait for a connection, and again for an answer.
    pub patience: Duration,
    /// How many attempts are made before the failure counts.
    pub attempts: u32,
}

impl ImdsSettings {
    /// This address, with a second of patience and three attempts.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), patience: Duration::from_secs(1), attempts: 3 }
    }

    /// The settings from the environment, in the SDKs' words: `AWS_EC2_METADATA_DISABLED`,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` (`IPv4` or `IPv6`). `variable`
    /// looks one up.
    ///
    /// # Errors
    /// [`ImdsFault::Disabled`], or an endpoint mode that does not exist.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ImdsFault> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if set("AWS_EC2_METADATA_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
            return Err(ImdsFault::Disabled);
        }
        if let Some(endpoint) = set("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            return Ok(Self::at(endpoint));
        }
        let Some(mode) = set("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") else { return Ok(Self::at(IPV4)) };
        match mode.to_ascii_lowercase().as_str() {
            "ipv4" => Ok(Self::at(IPV4)),
            "ipv6" => Ok(Self::at(IPV6)),
            _ => {
                let problem = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is IPv4 or IPv6".to_owned();
                Err(ImdsFault::Endpoint { endpoint: mode, problem })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<String, ImdsFault> {
        let look = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        ImdsSettings::from_environment(look).map(|settings| settings.endpoint)
    }

    #[test]
    fn the_environment_names_the_endpoint() {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
        const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
        assert_eq!(of(&[]).unwrap(), IPV4);
        assert_eq!(of(&[(MODE, "IPv6")]).unwrap(), IPV6);
        assert_eq!(of(&[(MODE, "ipv4"), (ENDPOINT, "")]).unwrap(), IPV4);
        assert_eq!(of(&[(MODE, "IPv6"), (ENDPOINT, "http://localhost:1")]).unwrap(), "http://localhost:1");
        assert_eq!(of(&[(DISABLED, "false")]).unwrap(), IPV4);
        assert_eq!(of(&[(DISABLED, "TRUE"), (ENDPOINT, "http://localhost:1")]), Err(ImdsFault::Disabled));
        let wrong = of(&[(MODE, "IPv5")]).unwrap_err().to_string();
        assert!(wrong.contains("IPv5") && wrong.contains("IPv4 or IPv6"), "{wrong}");
    }
}
