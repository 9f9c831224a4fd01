//! The identity of this host for the command service (docs/protocols/codedeploy.md#identity).

use aws_config::imds;
use hostler_core::codedeploy::agent_config::OnPremises;
use hostler_core::error_chain::innermost;
use serde::Deserialize;

/// This host as the command service knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// An ARN: of the instance, or of the user or session of a host outside EC2.
    pub host_identifier: String,
    /// Its region.
    pub region: String,
    /// The partition's domain, if the metadata service gives one.
    pub domain: Option<String>,
}

/// Why the host's identity is unknown.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The metadata service does not answer.
    #[error("the instance metadata does not answer ({path}): {problem}; outside EC2 write the on-premises file")]
    Metadata {
        /// The requested path.
        path: &'static str,
        /// Why there is no answer.
        problem: String,
    },
    /// The service's answer is not an identity document.
    #[error("the instance identity document cannot be read: {0}")]
    Document(serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    account_id: String,
    instance_id: String,
    region: String,
}

/// Finds out the host's identity: from the on-premises file, else from the instance that the metadata service names
/// (IMDSv2 only; `AWS_EC2_METADATA_SERVICE_ENDPOINT` moves it). A configured `region` wins.
///
/// # Errors
/// See [`IdentityError`].
pub async fn identity(on_premises: Option<&OnPremises>, region: Option<&str>) -> Result<Identity, IdentityError> {
    if let Some(host) = on_premises {
        let region = region.unwrap_or(&host.region).to_owned();
        return Ok(Identity { host_identifier: host.host_identifier.clone(), region, domain: None });
    }
    let client = imds::Client::builder().build();
    let get = async |path: &'static str| {
        let answer = client.get(path).await.map(String::from);
        answer.map_err(|e| IdentityError::Metadata { path, problem: innermost(&e) })
    };
    let document = get("/latest/dynamic/instance-identity/document").await?;
    let document: IdentityDocument = serde_json::from_str(&document).map_err(IdentityError::Document)?;
    let partition = get("/latest/meta-data/services/partition").await?;
    let domain = get("/latest/meta-data/services/domain").await?;
    let host_identifier =
        format!("arn:{partition}:ec2:{}:{}:instance/{}", document.region, document.account_id, document.instance_id);
    Ok(Identity { host_identifier, region: region.map_or(document.region, str::to_owned), domain: Some(domain) })
}
