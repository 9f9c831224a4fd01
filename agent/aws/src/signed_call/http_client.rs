//! The one HTTP client of all signed calls.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};

use crate::clients::either_case;

/// How the client reaches AWS.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The limit for connecting, TLS included.
    pub connect_timeout: Duration,
    /// The longest wait for the first byte of an answer, and between two pieces: longer than the longest poll that a
    /// service holds open (CodeDeploy's command service: 60 seconds and more).
    pub read_timeout: Duration,
    /// The proxy between this host and AWS.
    pub proxy: ProxyChoice,
    /// Certificate authorities in PEM that are trusted *instead of* the system's, as with `AWS_CA_BUNDLE`.
    pub ca_bundle: Option<Vec<u8>>,
}

/// The choice of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The proxy from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, except for the hosts in `no_proxy` (as
    /// in `NO_PROXY`).
    Environment {
        /// More hosts that are reached directly.
        no_proxy: String,
    },
    /// No proxy, whatever the environment says.
    Direct,
    /// This proxy, except for the hosts in `no_proxy` (comma-separated, as in `NO_PROXY`).
    Url {
        /// `http://user:password@host:port`.
        url: String,
        /// Hosts that are reached directly.
        no_proxy: Option<String>,
    },
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(80),
            proxy: ProxyChoice::Environment { no_proxy: String::new() },
            ca_bundle: None,
        }
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The bundle holds no certificate.
    #[error("the CA bundle holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    EmptyCaBundle,
    /// A certificate cannot be read.
    #[error("the CA bundle cannot be read as certificates in PEM")]
    CaBundle(#[source] reqwest::Error),
    /// The proxy's URL cannot be used.
    #[error("the proxy's URL cannot be used; it has the form http://host:port")]
    Proxy(#[source] reqwest::Error),
    /// TLS could not be set up; mostly because the system has no certificate authorities.
    #[error("TLS cannot be set up; are the system's certificate authorities installed (the package ca-certificates)?")]
    Tls(#[source] reqwest::Error),
}

/// Makes the client: rustls, HTTP/1.1 and 2, no redirects (a signature is for one host), no decompression (a small
/// answer cannot become a large one). It is cheap to clone, and shares its connections.
///
/// # Errors
/// See [`HttpClientError`].
pub fn http_client(settings: &HttpSettings) -> Result<Client, HttpClientError> {
    let mut builder = Client::builder()
        .user_agent(concat!("hostler/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .pool_max_idle_per_host(2)
        // Calls that follow each other share a connection; one kept for a poll each minute would only wake the process.
        .pool_idle_timeout(Duration::from_secs(15))
        .redirect(Policy::none())
        .referer(false);
    if let Some(bundle) = &settings.ca_bundle {
        let certificates = Certificate::from_pem_bundle(bundle).map_err(HttpClientError::CaBundle)?;
        if certificates.is_empty() {
            return Err(HttpClientError::EmptyCaBundle);
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder = match &settings.proxy {
        ProxyChoice::Environment { no_proxy } => {
            environment(no_proxy)?.into_iter().fold(builder.no_proxy(), ClientBuilder::proxy)
        }
        ProxyChoice::Direct => builder.no_proxy(),
        ProxyChoice::Url { url, no_proxy } => {
            let proxy = Proxy::all(url).map_err(HttpClientError::Proxy)?;
            builder.no_proxy().proxy(proxy.no_proxy(no_proxy.as_deref().and_then(NoProxy::from_string)))
        }
    };
    builder.build().map_err(HttpClientError::Tls)
}

/// The proxies from the environment. They are read here because reqwest's own reading takes no additional hosts for
/// direct connections.
fn environment(no_proxy: &str) -> Result<Vec<Proxy>, HttpClientError> {
    let direct = format!("{},{no_proxy}", either_case("NO_PROXY").unwrap_or_default());
    let direct = NoProxy::from_string(&direct);
    let made = [
        either_case("HTTPS_PROXY").map(Proxy::https),
        either_case("HTTP_PROXY").map(Proxy::http),
        either_case("ALL_PROXY").map(Proxy::all),
    ];
    let made = made.into_iter().flatten().map(|proxy| proxy.map(|proxy| proxy.no_proxy(direct.clone())));
    made.collect::<Result<_, _>>().map_err(HttpClientError::Proxy)
}
