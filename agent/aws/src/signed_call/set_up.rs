//! Signed calls by the configuration.

use std::path::PathBuf;

use hostler_core::config::settings::Proxy;
use hostler_core::store::without_secrets;

use super::{HttpClientError, HttpSettings, ProxyChoice, SignedCalls, http_client};
use crate::ca_bundle;
use crate::clients::Clients;
use crate::endpoint::EndpointChoice;

/// Why there can be no signed calls.
#[derive(Debug, thiserror::Error)]
pub enum SignedCallsError {
    /// Nothing says where.
    #[error("no AWS region is known; set aws: region in the configuration, or AWS_REGION")]
    NoRegion,
    /// The SDK is configured to use no credentials.
    #[error("no source of AWS credentials is configured")]
    NoCredentials,
    /// The endpoint from the configuration or the environment is not a URL.
    #[error("the endpoint {url:?} is not a URL: {problem}")]
    Endpoint {
        /// The endpoint, as written.
        url: String,
        /// The problem with it.
        problem: String,
    },
    /// The file with the certificate authorities cannot be read.
    #[error("cannot read the certificates in {path}")]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Http(#[from] HttpClientError),
}

impl SignedCalls {
    /// Signed calls with the SDK's credentials, region and endpoint, by the configured proxy and certificates. Make it
    /// once and clone it: connections and credentials are shared by clones only.
    ///
    /// # Errors
    /// See [`SignedCallsError`].
    pub async fn of_clients(clients: &Clients) -> Result<Self, SignedCallsError> {
        let sdk = clients.sdk().await;
        let region = sdk.region().cloned().ok_or(SignedCallsError::NoRegion)?;
        let credentials = clients.kept_credentials().await.ok_or(SignedCallsError::NoCredentials)?;
        let url = sdk.endpoint_url().map(|url| {
            url.parse().map_err(|e| SignedCallsError::Endpoint { url: without_secrets(url), problem: format!("{e}") })
        });
        let endpoints = EndpointChoice {
            fips: sdk.use_fips().unwrap_or_default(),
            dual_stack: sdk.use_dual_stack().unwrap_or_default(),
            url: url.transpose()?,
        };
        let http = http_client_of(clients)?;
        Ok(Self::new(credentials, region, endpoints, http))
    }
}

/// An HTTP client with the configured proxy and certificates, for addresses that are signed already.
///
/// # Errors
/// When the certificates or the proxy cannot be used.
pub fn http_client_of(clients: &Clients) -> Result<reqwest::Client, SignedCallsError> {
    let ca_bundle = clients
        .ca_bundle()
        .map(|path| ca_bundle::read(&path).map_err(|source| SignedCallsError::CaBundle { path, source }));
    let settings = clients.settings();
    let no_proxy = settings.no_proxy.join(",");
    let proxy = match &settings.proxy {
        None => ProxyChoice::Environment { no_proxy },
        Some(Proxy::Direct) => ProxyChoice::Direct,
        Some(Proxy::Url(url)) => ProxyChoice::Url { url: url.clone(), no_proxy: Some(no_proxy) },
    };
    Ok(http_client(&HttpSettings { proxy, ca_bundle: ca_bundle.transpose()?, ..HttpSettings::default() })?)
}
