//! The source of credentials, for `hostler doctor`. Requests use the same source.

use std::time::SystemTime;

use aws_credential_types::provider::ProvideCredentials as _;
use hostler_core::error_chain::chain;
use jiff::Timestamp;

use crate::clients::Clients;

/// Credentials for display: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The SDK's name of the provider, as in `Environment` or `Ec2InstanceMetadata`.
    pub provider: String,
    /// The access key's id.
    pub access_key_id: String,
    /// When they expire; `None` if they do not.
    pub expires: Option<Timestamp>,
}

/// Asks the chain of providers.
///
/// # Errors
/// The chain's error, from the general to the particular, in one line.
pub async fn find(clients: &Clients) -> Result<Found, String> {
    let Some(provider) = clients.sdk().await.credentials_provider() else {
        return Err("no provider of credentials is configured".to_owned());
    };
    let found = provider.provide_credentials().await.map_err(|error| chain(&error))?;
    let expires = found.expiry().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let expires = expires.and_then(|since| Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok());
    // Only the debug format shows the provider's name, and it leaves the secrets out.
    let shown = format!("{found:?}");
    let provider = shown.split("provider_name: \"").nth(1).and_then(|rest| rest.split('"').next());
    let provider = provider.unwrap_or("the SDK's chain").to_owned();
    Ok(Found { provider, access_key_id: found.access_key_id().to_owned(), expires })
}
