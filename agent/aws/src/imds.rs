//! The instance metadata service, version 2 only (docs/protocols/auto-scaling.md#metadata-service; EC2 User Guide, "Use
//! IMDS").
//!
//! It uses reqwest and not the SDK's own client, which sums up every failure of the token request as "failed to load
//! session token", while an operator needs to know the cause. Here a refused connection, a token request that is never
//! answered (hop limit), an endpoint without tokens and a slow endpoint stay apart. While idle it keeps only the
//! token's text: no connection, no task, no timer, and no TLS roots, because the service speaks plain HTTP on the link.

mod fault;
mod settings;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use hostler_core::error_chain::innermost;
use hostler_core::retry::Backoff;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use fault::ImdsFault;
pub use settings::ImdsSettings;

const TOKEN_PATH: &str = "latest/api/token";
/// The longest lifetime that the service grants.
const TOKEN_SECONDS: u64 = 21_600;
/// A token with less than this left is replaced before it is used.
const TOKEN_MARGIN: Duration = Duration::from_secs(120);
/// Nothing that is read here is longer; user data, which may have 16 KiB, is not read.
const MOST_BYTES: usize = 64 << 10;
/// EC2 gives an instance at most 50.
const MOST_TAGS: usize = 100;
const BETWEEN_ATTEMPTS: Backoff = Backoff { first_ms: 100, most_ms: 1000 };

/// The service. One for the whole process, so that the token is fetched once.
#[derive(Debug)]
pub struct Imds {
    http: Client,
    base: Url,
    settings: ImdsSettings,
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

/// The instance identity document (`dynamic/instance-identity/document`), in the parts that hostler uses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityDocument {
    /// The account that the instance runs in.
    pub account_id: String,
    /// As in `x86_64`.
    pub architecture: String,
    /// As in `eu-central-1a`.
    pub availability_zone: String,
    /// The image that it was started from.
    pub image_id: String,
    /// As in `i-0123456789abcdef0`.
    pub instance_id: String,
    /// As in `t3.micro`.
    pub instance_type: String,
    /// The time of the last start, which changes with each stop and start.
    pub pending_time: String,
    /// The Region.
    pub region: String,
}

impl Imds {
    /// The service at this address. Nothing is sent yet.
    ///
    /// # Errors
    /// No request can be made to the address.
    pub fn new(settings: ImdsSettings) -> Result<Self, ImdsFault> {
        let wrong = |problem: String| ImdsFault::Endpoint { endpoint: settings.endpoint.clone(), problem };
        let mut base = Url::parse(&settings.endpoint).map_err(|error| wrong(error.to_string()))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(wrong("it must begin with http://".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = Client::builder()
            // A proxy would add X-Forwarded-For, which the service refuses, and answer for another instance.
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("hostler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.patience)
            .timeout(settings.patience * 2)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { http, base, settings, token: Mutex::new(None) })
    }

    /// The address that is asked.
    pub fn endpoint(&self) -> &str {
        &self.settings.endpoint
    }

    /// The content of a path below `latest/`, as in `meta-data/instance-id`; `None` if the service has nothing there
    /// (404).
    ///
    /// # Errors
    /// The fault of the last attempt.
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsFault> {
        let mut failures = 0;
        loop {
            let fault = match self.attempt(path).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            failures += 1;
            if failures >= self.settings.attempts || !fault.may_pass() {
                return Err(fault);
            }
            let wait = BETWEEN_ATTEMPTS.wait_ms(failures, RandomState::new().hash_one(failures));
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    /// The instance's id.
    ///
    /// # Errors
    /// As [`Self::get`]; also when the answer is no instance id.
    pub async fn instance_id(&self) -> Result<String, ImdsFault> {
        let path = "meta-data/instance-id";
        let id = self.word(path).await?;
        match id.strip_prefix("i-") {
            Some(rest) if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(id),
            _ => {
                Err(ImdsFault::Garbage { path: path.to_owned(), problem: format!("{} is no instance id", shown(&id)) })
            }
        }
    }

    /// The Region, as in `eu-central-1`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn region(&self) -> Result<String, ImdsFault> {
        self.word("meta-data/placement/region").await
    }

    /// The availability zone, as in `eu-central-1a`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn availability_zone(&self) -> Result<String, ImdsFault> {
        self.word("meta-data/placement/availability-zone").await
    }

    /// The instance type, as in `t3.micro`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn instance_type(&self) -> Result<String, ImdsFault> {
        self.word("meta-data/instance-type").await
    }

    /// The Auto Scaling group's target state for the instance, as in `InService`; `None` outside of a group, and for an
    /// instance so new that the group has not set it yet.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn target_lifecycle_state(&self) -> Result<Option<String>, ImdsFault> {
        let path = "meta-data/autoscaling/target-lifecycle-state";
        self.get(path).await?.map(|text| word(path, &text)).transpose()
    }

    /// The instance's tags; `None` where the instance does not show them in its metadata.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn tags(&self) -> Result<Option<BTreeMap<String, String>>, ImdsFault> {
        let Some(names) = self.get("meta-data/tags/instance").await? else { return Ok(None) };
        let mut tags = BTreeMap::new();
        for name in names.lines().map(str::trim).filter(|name| !name.is_empty()).take(MOST_TAGS) {
            // A tag that was removed between the two requests is left out.
            if let Some(value) = self.tag(name).await? {
                tags.insert(name.to_owned(), value);
            }
        }
        Ok(Some(tags))
    }

    /// The value of one tag; `None` if the instance has no tag with this name or does not show its tags.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn tag(&self, name: &str) -> Result<Option<String>, ImdsFault> {
        self.get(&format!("meta-data/tags/instance/{name}")).await
    }

    /// The instance identity document.
    ///
    /// # Errors
    /// As [`Self::get`]; also when the answer is no such document.
    pub async fn identity_document(&self) -> Result<IdentityDocument, ImdsFault> {
        let path = "dynamic/instance-identity/document";
        let text = self.get(path).await?.ok_or_else(|| ImdsFault::Missing { path: path.to_owned() })?;
        serde_json::from_str(&text)
            .map_err(|error| ImdsFault::Garbage { path: path.to_owned(), problem: error.to_string() })
    }

    async fn word(&self, path: &str) -> Result<String, ImdsFault> {
        let text = self.get(path).await?.ok_or_else(|| ImdsFault::Missing { path: path.to_owned() })?;
        word(path, &text)
    }

    async fn attempt(&self, path: &str) -> Result<Option<String>, ImdsFault> {
        let token = self.token(None).await?;
        let response = self.ask(path, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.read(path, response).await;
        }
        // Expired before its time: the host was hibernated, or the service was restarted.
        let token = self.token(Some(&token)).await?;
        let response = self.ask(path, &token).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(ImdsFault::TokenNotTaken { path: path.to_owned() });
        }
        self.read(path, response).await
    }

    /// The cached token, or a new one when it is about to expire or was refused.
    async fn token(&self, refused: Option<&str>) -> Result<String, ImdsFault> {
        let mut cached = self.token.lock().await;
        match &*cached {
            Some(token) if token.renew_at > Instant::now() && refused != Some(token.text.as_str()) => {
                return Ok(token.text.clone());
            }
            _ => *cached = None,
        }
        let token = self.new_token().await?;
        Ok(cached.insert(token).text.clone())
    }

    async fn new_token(&self) -> Result<Token, ImdsFault> {
        let asked = Instant::now();
        let request = self.http.request(Method::PUT, self.url(TOKEN_PATH)?);
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        let response = request.send().await.map_err(|error| match self.fault(TOKEN_PATH, &error) {
            ImdsFault::Slow { within, .. } => {
                ImdsFault::TokenUnanswered { endpoint: self.settings.endpoint.clone(), within }
            }
            other => other,
        })?;
        let status = response.status();
        if matches!(status.as_u16(), 401 | 404 | 405 | 501) {
            return Err(ImdsFault::NoVersionTwo { endpoint: self.settings.endpoint.clone(), status: status.as_u16() });
        }
        let granted = response.headers().get("x-aws-ec2-metadata-token-ttl-seconds");
        let granted = granted.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(TOKEN_SECONDS);
        let text = self.read(TOKEN_PATH, response).await?.unwrap_or_default();
        let text = word(TOKEN_PATH, &text)?;
        let lasts = Duration::from_secs(granted.min(TOKEN_SECONDS));
        Ok(Token { text, renew_at: asked + lasts.saturating_sub(TOKEN_MARGIN).max(lasts / 2) })
    }

    async fn ask(&self, path: &str, token: &str) -> Result<Response, ImdsFault> {
        let request = self.http.get(self.url(&format!("latest/{path}"))?).header("x-aws-ec2-metadata-token", token);
        request.send().await.map_err(|error| self.fault(path, &error))
    }

    fn url(&self, path: &str) -> Result<Url, ImdsFault> {
        let joined = self.base.join(path);
        joined.map_err(|error| ImdsFault::Garbage { path: path.to_owned(), problem: error.to_string() })
    }

    async fn read(&self, path: &str, mut response: Response) -> Result<Option<String>, ImdsFault> {
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(path, &error))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                let problem = format!("more than {MOST_BYTES} bytes");
                return Err(ImdsFault::Garbage { path: path.to_owned(), problem });
            }
            bytes.extend_from_slice(&chunk);
        }
        match status.as_u16() {
            200 => String::from_utf8(bytes).map(Some).map_err(|_| ImdsFault::Garbage {
                path: path.to_owned(),
                problem: "bytes that are no text".to_owned(),
            }),
            403 => Err(ImdsFault::Forbidden),
            status @ (429 | 503) => Err(ImdsFault::Throttled { path: path.to_owned(), status }),
            status => {
                let body = shown(&String::from_utf8_lossy(&bytes));
                Err(ImdsFault::Status { path: path.to_owned(), status, body })
            }
        }
    }

    fn fault(&self, path: &str, error: &reqwest::Error) -> ImdsFault {
        let path = path.to_owned();
        if error.is_connect() {
            let cause = if error.is_timeout() {
                format!("no connection within {:?}", self.settings.patience)
            } else {
                innermost(error)
            };
            return ImdsFault::Unreachable { endpoint: self.settings.endpoint.clone(), cause };
        }
        if error.is_timeout() {
            return ImdsFault::Slow { path, within: self.settings.patience * 2 };
        }
        ImdsFault::Broken { path, cause: innermost(error) }
    }
}

/// One word without spaces, which every single value of the service is.
fn word(path: &str, text: &str) -> Result<String, ImdsFault> {
    let found = text.trim();
    if found.is_empty() || !found.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ImdsFault::Garbage { path: path.to_owned(), problem: format!("{} is not one word", shown(found)) });
    }
    Ok(found.to_owned())
}

/// The beginning of a text, on one line.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let short: String = line.chars().take(100).collect();
    if short.len() < line.len() { format!("{short:?}…") } else { format!("{line:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_no_request_can_be_made_to_is_refused() {
        for endpoint in ["", "169.254.169.254", "https://169.254.169.254", "mailto:a@b", "http://"] {
            let fault = Imds::new(ImdsSettings::at(endpoint)).unwrap_err();
            assert!(matches!(fault, ImdsFault::Endpoint { .. }), "{endpoint}: {fault:?}");
        }
        for endpoint in ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://localhost:1/prefix"] {
            Imds::new(ImdsSettings::at(endpoint)).unwrap();
        }
    }

    #[test]
    fn a_body_is_shown_short_and_on_one_line() {
        assert_eq!(shown("<html>\n<body>x"), "\"<html> <body>x\"");
        assert!(shown(&"x".repeat(200)).chars().count() < 110);
    }
}
