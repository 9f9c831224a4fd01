//! Signed requests for the services that have no SDK crate here: SigV4 on one shared HTTP client.
//!
//! A call is one attempt: the caller decides about the next one, by [`Fault::is_retryable`]. Two refusals are handled
//! here, once each, because the caller could do no better: expired credentials are asked for again, and a wrong clock
//! is corrected for the signature by the answer's `Date` (as AWS's SDKs do).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use hostler_core::error_chain::innermost;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::endpoint::{EndpointChoice, endpoint};
use crate::fault::{Fault, FaultKind};
use crate::kept_credentials::KeptCredentials;

mod answer;
mod http_client;
mod set_up;
#[cfg(test)]
mod tests;

pub use answer::{Answer, element_text};
pub use http_client::{HttpClientError, HttpSettings, ProxyChoice, http_client};
pub use set_up::{SignedCallsError, http_client_of};

/// A service by its two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// How its host name begins: `codedeploy-commands`, `email`.
    pub endpoint_prefix: &'static str,
    /// How signatures name it: `codedeploy-commands`, `ses`.
    pub signing_name: &'static str,
}

/// One of a service's operations, and how much time and memory it may take.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Whose it is.
    pub service: Service,
    /// The permission that it needs, as `kms:Sign`; faults name it.
    pub action: &'static str,
    /// For one attempt, from the connection to the last byte.
    pub timeout: Duration,
    /// Most bytes of an answer's body. Prevents: an answer without end that takes the host's memory.
    pub answer_bytes: usize,
}

/// The JSON protocols, which differ in the content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonVersion {
    /// `application/x-amz-json-1.0`: SQS, Step Functions.
    V1_0,
    /// `application/x-amz-json-1.1`: KMS, CloudWatch Logs, SSM, CodeDeploy.
    V1_1,
}

impl JsonVersion {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::V1_0 => "application/x-amz-json-1.0",
            Self::V1_1 => "application/x-amz-json-1.1",
        })
    }
}

/// A request to be signed and sent as it stands.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service and the operation.
    pub operation: Operation,
    /// The HTTP method.
    pub method: Method,
    /// Where to; its path and query are sent as they are.
    pub url: Url,
    /// Headers besides `Host`, the date, the session token and the signature. All of them are signed.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Signs and sends calls. Cheap to clone; clones share connections, credentials and the clock's correction.
#[derive(Debug, Clone)]
pub struct SignedCalls {
    credentials: KeptCredentials,
    region: Region,
    endpoints: Arc<EndpointChoice>,
    http: reqwest::Client,
    /// Milliseconds that AWS's clock is ahead of this host's; 0 until a signature was refused for its time.
    clock_offset: Arc<AtomicI64>,
    now: fn() -> SystemTime,
}

impl SignedCalls {
    /// Calls with these credentials, in this region.
    pub(crate) fn new(
        credentials: KeptCredentials,
        region: Region,
        endpoints: EndpointChoice,
        http: reqwest::Client,
    ) -> Self {
        Self {
            credentials,
            region,
            endpoints: Arc::new(endpoints),
            http,
            clock_offset: Arc::new(AtomicI64::new(0)),
            now: clock::now,
        }
    }

    /// The same in another region: for a key or queue whose ARN names a region.
    pub fn in_region(&self, region: Region) -> Self {
        Self { region, ..self.clone() }
    }

    /// The region that calls are signed for.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// How far AWS's clock is ahead of this host's, in milliseconds; 0 until a signature was refused for its time.
    pub fn clock_offset_milliseconds(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    /// The URL of a service in this region.
    ///
    /// # Errors
    /// [`FaultKind::Fatal`]: the region is not one.
    pub fn endpoint(&self, operation: &Operation) -> Result<Url, Fault> {
        endpoint(operation.service.endpoint_prefix, &self.region, &self.endpoints).map_err(fatal)
    }

    /// Calls an operation of the JSON protocols. `target` is the value of `X-Amz-Target`, as `TrentService.Sign`.
    ///
    /// # Errors
    /// A [`Fault`]; [`FaultKind::Fatal`] also when the answer does not fit `Output`.
    pub async fn json<Output: DeserializeOwned>(
        &self,
        operation: &Operation,
        version: JsonVersion,
        target: &'static str,
        input: &impl Serialize,
    ) -> Result<Output, Fault> {
        let body = serde_json::to_vec(input).map_err(|e| fatal(format!("the request cannot be written: {e}")))?;
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, version.content_type()),
            (HeaderName::from_static("x-amz-target"), HeaderValue::from_static(target)),
        ]);
        let answer = self.post(operation, headers, body).await?;
        // Operations without an output answer with nothing at all or with an empty object.
        let body: &[u8] = if answer.body.is_empty() { b"{}" } else { &answer.body };
        serde_json::from_slice(body).map_err(|e| fatal(format!("the answer cannot be understood: {e}")))
    }

    /// Calls an operation of the Query protocol and returns the answer's XML; see [`element_text`].
    ///
    /// # Errors
    /// A [`Fault`]; [`FaultKind::Fatal`] also when the answer is not text.
    pub async fn query(
        &self,
        operation: &Operation,
        version: &str,
        name: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, Fault> {
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        let answer = self.post(operation, headers, form(name, version, parameters)).await?;
        String::from_utf8(answer.body.into()).map_err(|_| fatal("the answer is not text"))
    }

    async fn post(&self, operation: &Operation, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Fault> {
        let url = self.endpoint(operation)?;
        let call = Call { operation: *operation, method: Method::POST, url, headers, body: body.into() };
        self.send(&call).await
    }

    /// Signs and sends a call, and returns the answer if its status says success.
    ///
    /// # Errors
    /// A [`Fault`]: no credentials, no connection, an answer that is too long, or a refusal.
    pub async fn send(&self, call: &Call) -> Result<Answer, Fault> {
        let mut asked_again_for_credentials = false;
        let mut corrected_clock = false;
        loop {
            let credentials = self.good_credentials().await?;
            let refused = match self.attempt(call, &credentials).await? {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            if refused.fault.kind == FaultKind::Expired && !asked_again_for_credentials {
                asked_again_for_credentials = true;
                self.credentials.forget(&credentials).await;
            } else if refused.fault.kind == FaultKind::ClockSkew && !corrected_clock && self.correct_clock(&refused) {
                corrected_clock = true;
            } else {
                return Err(refused.fault);
            }
        }
    }

    async fn good_credentials(&self) -> Result<Credentials, Fault> {
        let found = self.credentials.get((self.now)()).await;
        found.map_err(|e| Fault::without_answer(FaultKind::NoCredentials, innermost(&e)))
    }

    /// The outer error ends the call; the inner one is AWS's refusal.
    async fn attempt(&self, call: &Call, credentials: &Credentials) -> Result<Result<Answer, Refused>, Fault> {
        let action = call.operation.action;
        let signed_at = self.signing_time();
        let request = self.request(call, credentials, signed_at)?;
        let broken = |error: reqwest::Error| transport(&call.url, error);
        let mut response = self.http.execute(request).await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let server_time = answer::date(&headers);
            return Ok(Err(Refused { fault: answer::refusal(response, action, signed_at).await, server_time }));
        }
        let at_most = call.operation.answer_bytes;
        match answer::read_body(&mut response, at_most).await.map_err(broken)? {
            Some(body) => Ok(Ok(Answer { status, headers, body })),
            None => Err(fatal(format!("the answer has more than {at_most} bytes"))),
        }
    }

    fn signing_time(&self) -> SystemTime {
        let offset = self.clock_offset_milliseconds();
        let distance = Duration::from_millis(offset.unsigned_abs());
        let now = (self.now)();
        if offset < 0 { now.checked_sub(distance) } else { now.checked_add(distance) }.unwrap_or(now)
    }

    /// Whether the next signature will have another time than the refused one.
    fn correct_clock(&self, refused: &Refused) -> bool {
        let Some(theirs) = refused.server_time else { return false };
        let offset = match theirs.duration_since((self.now)()) {
            Ok(ahead) => i64::try_from(ahead.as_millis()),
            Err(behind) => i64::try_from(behind.duration().as_millis()).map(|behind| -behind),
        };
        let Ok(offset) = offset else { return false };
        self.clock_offset.store(offset, Ordering::Relaxed);
        log::warn!(
            milliseconds = offset;
            "this host's clock is wrong by {} seconds; requests are signed with AWS's time, correct it (chronyc tracking)",
            offset / 1000
        );
        true
    }

    /// The request as it goes out, signed.
    fn request(&self, call: &Call, credentials: &Credentials, time: SystemTime) -> Result<Request, Fault> {
        let mut request = Request::new(call.method.clone(), call.url.clone());
        *request.headers_mut() = call.headers.clone();
        let identity = credentials.clone().into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name(call.operation.service.signing_name)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| fatal(format!("the request cannot be signed: {e}")))?
            .into();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| {
                Ok((name.as_str(), value.to_str().map_err(|_| fatal(format!("the header {name} is not ASCII")))?))
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        let signable = SignableRequest::new(
            call.method.as_str(),
            call.url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&call.body),
        )
        .map_err(|e| fatal(format!("the request cannot be signed: {e}")))?;
        let (instructions, _signature) =
            sign(signable, &parameters).map_err(|e| fatal(format!("the request cannot be signed: {e}")))?.into_parts();
        let (signed_headers, _query) = instructions.into_parts();
        for header in signed_headers {
            let mut value = HeaderValue::from_str(header.value())
                .map_err(|_| fatal(format!("the credentials do not fit into the header {}", header.name())))?;
            // The date is no secret, but no log needs these values.
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(header.name()), value);
        }
        *request.body_mut() = Some(call.body.clone().into());
        *request.timeout_mut() = Some(call.operation.timeout);
        Ok(request)
    }
}

/// A request of the Query protocol.
fn form(name: &str, version: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", name).append_pair("Version", version).extend_pairs(parameters);
    form.finish().into_bytes()
}

/// AWS's refusal, and its clock.
struct Refused {
    fault: Fault,
    server_time: Option<SystemTime>,
}

fn fatal(problem: impl std::fmt::Display) -> Fault {
    Fault::without_answer(FaultKind::Fatal, problem)
}

/// A connection that could not be made or broke.
fn transport(url: &Url, error: reqwest::Error) -> Fault {
    let error = error.without_url();
    let host = url.host_str().unwrap_or("?");
    let (kind, problem) = if error.is_timeout() {
        (FaultKind::Transient, format!("{host} did not answer in time"))
    } else if error.is_connect() {
        (FaultKind::Transient, format!("cannot connect to {host}: {}", innermost(&error)))
    } else if error.is_builder() {
        (FaultKind::Fatal, format!("cannot ask {host}: {}", innermost(&error)))
    } else {
        (FaultKind::Transient, format!("the connection to {host} broke: {}", innermost(&error)))
    };
    Fault::without_answer(kind, problem)
}
