//! An HTTP GET on a connection of its own, as a load balancer does it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hostler_core::error_chain::{causes, innermost};
use hostler_core::health::HttpProbe;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Url};

use crate::regular::{self, MOST_PEM_BYTES};

/// Most bytes of a body to search for the expected text. Prevents: an endless answer taking the memory.
const BODY_BYTES: usize = 64 << 10;

/// A client that is ready.
#[derive(Debug, Clone)]
pub(super) struct HttpWay {
    client: Client,
    url: Url,
    headers: HeaderMap,
    probe: HttpProbe,
}

impl HttpWay {
    /// # Errors
    /// The part of the check that cannot be used.
    pub(super) fn new(probe: &HttpProbe) -> Result<Self, String> {
        let mut url = Url::parse(&probe.url).map_err(|e| format!("not an address: {e}"))?;
        let mut client = Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .tcp_keepalive(None::<Duration>)
            .user_agent("hostler-health-check");
        if url.scheme() == "http" {
            // The host's certificate authorities are not read for an address that does not use them.
            client = client.tls_certs_only([]);
        } else if let Some(file) = &probe.ca_file {
            let pem = regular::read(Path::new(file), MOST_PEM_BYTES).map_err(|e| format!("cannot read {file}: {e}"))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|e| format!("{file}: {e}"))?;
            client = client.tls_certs_only(authorities);
        }
        if let Some(name) = &probe.tls_name {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            client = client.dns_resolver(Instead(host));
            url.set_host(Some(name)).map_err(|e| format!("tls_name {name:?}: {e}"))?;
        }
        let client = client.build().map_err(|e| describe(&e))?;
        Ok(Self { client, url, headers: headers(&probe.headers)?, probe: probe.clone() })
    }

    pub(super) async fn ask(&self) -> Result<(), String> {
        let request = self.client.get(self.url.clone()).headers(self.headers.clone());
        let mut response = request.send().await.map_err(|e| describe(&e))?;
        let status = response.status().as_u16();
        if !self.probe.status.map_or((200..300).contains(&status), |wanted| wanted == status) {
            return Err(format!("HTTP {status}"));
        }
        for (name, wanted) in &self.probe.response_headers {
            let found =
                response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            if found.as_ref() != Some(wanted) {
                let found = found.map_or_else(|| "is missing".to_owned(), |value| format!("is {value:?}"));
                return Err(format!("the header {name} {found}"));
            }
        }
        let Some(wanted) = &self.probe.body else { return Ok(()) };
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| describe(&e))? {
            body.extend_from_slice(&piece);
            if body.len() >= BODY_BYTES {
                break;
            }
        }
        let holds = String::from_utf8_lossy(&body).contains(wanted.as_str());
        if holds { Ok(()) } else { Err(format!("HTTP {status}, and the body does not hold {wanted:?}")) }
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = || format!("{name:?} is not an HTTP header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// Leads every name to one host: the application does not listen at the certificate's name.
struct Instead(String);

impl Resolve for Instead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The innermost cause says most: `connection refused`, `invalid peer certificate: Expired`.
fn describe(error: &reqwest::Error) -> String {
    match causes(error).last().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(error) => super::describe(error),
        None => innermost(error),
    }
}
