//! One configuration of the SDK for all services, and one HTTP client on rustls with aws-lc. Both are made when the
//! first service is used and shared from then on, so that a host that follows a directory pays nothing for them.
//!
//! No connection is kept between two requests: an agent that polls every minute would find it closed by the other side,
//! and the connection's timers and its close would wake the process up. A download makes its own client, with kept
//! connections ([`Clients::for_download`]), which goes with it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::sdk_ua_metadata::FrameworkMetadata;
use hostler_core::config::settings::{AwsSettings, Proxy};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;

use crate::bounded::{Answers, bounded};
use crate::ca_bundle;
use crate::kept_credentials::KeptCredentials;
use crate::reach::naming_hosts;
use crate::selected_profile;

/// The limit for connecting, TLS included. A metadata address that does not answer must not hold up a start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until an answer begins.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one request, including the first; with the pauses between them some eight seconds.
const ATTEMPTS: u32 = 5;
/// The longest first pause. The limit doubles for each later one, and each pause is a random part of its limit.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Hosts that are never behind a proxy: the instance metadata and the credentials of containers.
const LINK_LOCAL: &str = "169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254,fd00:ec2::23";

/// Why AWS cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The configured certificates cannot be used.
    #[error("cannot use the certificates in {path}: {problem}")]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The proxy's URL cannot be used.
    #[error("cannot use the proxy: {0}")]
    Proxy(String),
}

/// The way to every service.
#[derive(Debug)]
pub struct Clients {
    settings: AwsSettings,
    trust: TlsContext,
    credentials: Option<SharedCredentialsProvider>,
    sdk: OnceCell<Sdk>,
}

/// The parts that are made when the first service is used.
#[derive(Debug)]
struct Sdk {
    config: SdkConfig,
    credentials: Option<KeptCredentials>,
}

impl Clients {
    /// Checks the configured certificates and proxy. It does not connect yet.
    ///
    /// # Errors
    /// The certificates or the proxy cannot be used.
    pub fn new(settings: AwsSettings) -> Result<Self, ClientsError> {
        let trust = trust(ca_bundle(&settings).as_deref())?;
        for way in [&settings.proxy, &settings.s3.proxy] {
            proxy(way.as_ref(), &settings.no_proxy)?;
        }
        Ok(Self { settings, trust, credentials: None, sdk: OnceCell::new() })
    }

    /// The same with these credentials instead of the default chain's.
    pub fn with_credentials(self, credentials: SharedCredentialsProvider) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// The configuration.
    pub fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The certificates in PEM that are trusted instead of the system's, from the configuration or `AWS_CA_BUNDLE`.
    pub fn ca_bundle(&self) -> Option<PathBuf> {
        ca_bundle(&self.settings)
    }

    /// The proxy of all services but those with one of their own, with the hosts that are reached without it.
    ///
    /// # Errors
    /// When the configured proxy's URL cannot be used.
    pub fn proxy(&self) -> Result<ProxyConfig, ClientsError> {
        proxy(self.settings.proxy.as_ref(), &self.settings.no_proxy)
    }

    /// The SDK's configuration: credentials by the default chain, region, endpoint, timeouts, retries.
    pub async fn sdk(&self) -> &SdkConfig {
        &self.loaded().await.config
    }

    /// The credentials of all services; `None` where the SDK is configured to use none.
    pub(crate) async fn kept_credentials(&self) -> Option<KeptCredentials> {
        self.loaded().await.credentials.clone()
    }

    /// Forgets credentials that AWS has refused as expired.
    pub(crate) async fn forget_credentials(&self) {
        if let Some(credentials) = &self.loaded().await.credentials {
            credentials.forget_all().await;
        }
    }

    async fn loaded(&self) -> &Sdk {
        self.sdk.get_or_init(|| self.load()).await
    }

    async fn load(&self) -> Sdk {
        let settings = &self.settings;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http_client(self.settings.proxy.as_ref(), 0, Answers::All))
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(FIRST_PAUSE)
                    .with_max_backoff(LONGEST_PAUSE),
            )
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build(),
            );
        // The name is a token and the version a number, so this cannot fail; without it requests only lack our name.
        if let Ok(name) = FrameworkMetadata::new("hostler", Some(env!("CARGO_PKG_VERSION"))) {
            loader = loader.framework_metadata(name);
        }
        let credentials = match &self.credentials {
            Some(given) => Some(given.clone()),
            None => selected_profile::provider().await,
        };
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(fips) = settings.use_fips_endpoint {
            loader = loader.use_fips(fips);
        }
        if let Some(dual_stack) = settings.use_dualstack_endpoint {
            loader = loader.use_dual_stack(dual_stack);
        }
        let config = loader.load().await;
        let credentials = config.credentials_provider().map(KeptCredentials::new);
        let kept = credentials.clone().map(SharedCredentialsProvider::new);
        let mut builder = config.into_builder().identity_cache(IdentityCache::no_cache());
        builder.set_credentials_provider(kept);
        Sdk { config: builder.build(), credentials }
    }

    /// An HTTP client that keeps connections, for the many requests of one download of S3. Dropping it closes them.
    pub fn for_download(&self, connections: usize) -> SharedHttpClient {
        self.http_client(self.s3_proxy(), connections, Answers::Refusals)
    }

    /// An HTTP client for S3, if S3 has another proxy than the other services.
    pub fn for_s3(&self) -> Option<SharedHttpClient> {
        self.settings.s3.proxy.as_ref().map(|proxy| self.http_client(Some(proxy), 0, Answers::All))
    }

    fn s3_proxy(&self) -> Option<&Proxy> {
        self.settings.s3.proxy.as_ref().or(self.settings.proxy.as_ref())
    }

    fn http_client(&self, way: Option<&Proxy>, idle_connections: usize, answers: Answers) -> SharedHttpClient {
        let mut builder: ConnectorBuilder = Connector::builder();
        builder.set_pool_max_idle_per_host(Some(idle_connections));
        // It was checked when this was made.
        builder.set_proxy_config(proxy(way, &self.settings.no_proxy).ok());
        let builder = builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(self.trust.clone());
        let made = Mutex::new(Vec::<(Timeouts, SharedHttpConnector)>::new());
        // One for each timeout (the instance metadata service has its own): each reads and keeps the certificates
        // again.
        http_client_fn(move |settings, _| {
            let timeouts = (settings.connect_timeout(), settings.read_timeout());
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, connector)) = made.iter().find(|(of, _)| *of == timeouts) {
                return connector.clone();
            }
            let connector = builder.clone().connector_settings(settings.clone()).build();
            let connector = bounded(naming_hosts(SharedHttpConnector::new(connector)), answers);
            made.push((timeouts, connector.clone()));
            connector
        })
    }
}

/// How long to wait for a connection and for the beginning of an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

fn ca_bundle(settings: &AwsSettings) -> Option<PathBuf> {
    settings.ca_bundle.clone().or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// An environment variable by its name in capitals or small letters, as for proxies.
pub(crate) fn either_case(name: &str) -> Option<String> {
    variable(name).or_else(|| variable(&name.to_ascii_lowercase()))
}

/// The certificates in the file, or the system's. The SDK takes bad ones for a fault in the program, so they are read
/// here.
fn trust(bundle: Option<&Path>) -> Result<TlsContext, ClientsError> {
    let store = match bundle {
        None => TrustStore::default(),
        Some(path) => {
            let wrong = |problem: String| ClientsError::CaBundle { path: path.to_owned(), problem };
            let pem = ca_bundle::read(path).map_err(|e| wrong(e.to_string()))?;
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|e| wrong(format!("it is not PEM: {e}")))?;
                roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it holds no certificate in PEM".to_owned()));
            }
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    TlsContext::builder().with_trust_store(store).build().map_err(|e| ClientsError::CaBundle {
        path: bundle.unwrap_or(Path::new("")).to_owned(),
        problem: e.to_string(),
    })
}

/// The proxy from the configuration or else the environment. Metadata addresses never go through a proxy.
fn proxy(way: Option<&Proxy>, direct: &[String]) -> Result<ProxyConfig, ClientsError> {
    let wrong = |e: aws_smithy_http_client::proxy::ProxyError| ClientsError::Proxy(e.to_string());
    let found = match way {
        Some(Proxy::Direct) => return Ok(ProxyConfig::disabled()),
        Some(Proxy::Url(url)) => ProxyConfig::all(url.as_str()).map_err(wrong)?,
        None => match (either_case("HTTPS_PROXY"), either_case("ALL_PROXY"), either_case("HTTP_PROXY")) {
            (Some(url), ..) => ProxyConfig::https(url.as_str()).map_err(wrong)?,
            (None, Some(url), _) => ProxyConfig::all(url.as_str()).map_err(wrong)?,
            (None, None, Some(url)) => ProxyConfig::http(url.as_str()).map_err(wrong)?,
            (None, None, None) => return Ok(ProxyConfig::disabled()),
        },
    };
    let environment = either_case("NO_PROXY").unwrap_or_default();
    Ok(found.no_proxy(format!("{LINK_LOCAL},{environment},{}", direct.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_with_bundle(content: &str) -> (tempfile::TempDir, AwsSettings) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.pem");
        std::fs::write(&path, content).unwrap();
        (directory, AwsSettings { ca_bundle: Some(path), ..AwsSettings::default() })
    }

    #[test]
    fn certificates_that_cannot_be_used_are_named_before_anything_is_connected() {
        for content in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let (_directory, settings) = settings_with_bundle(content);
            let error = Clients::new(settings).unwrap_err().to_string();
            assert!(error.contains("own.pem"), "{content:?}: {error}");
        }
        let missing = AwsSettings { ca_bundle: Some("/not/there.pem".into()), ..AwsSettings::default() };
        assert!(Clients::new(missing).unwrap_err().to_string().contains("/not/there.pem"));
    }

    #[test]
    fn a_proxy_that_is_none_is_named() {
        let settings = AwsSettings { proxy: Some(Proxy::Url("http://a b".to_owned())), ..AwsSettings::default() };
        assert!(Clients::new(settings).unwrap_err().to_string().contains("proxy"));
    }
}
