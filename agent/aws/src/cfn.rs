//! CloudFormation's signals: SignalResource, and wait conditions by their presigned URL
//! (<https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_SignalResource.html>,
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-waitcondition.html>).

use std::time::Duration;

use aws_config::Region;
use serde::Serialize;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Operation, Service, SignedCalls, SignedCallsError, http_client_of};

const SIGNAL_RESOURCE: Operation = Operation {
    service: Service { endpoint_prefix: "cloudformation", signing_name: "cloudformation" },
    action: "cloudformation:SignalResource",
    timeout: Duration::from_secs(30),
    answer_bytes: 64 << 10,
};
const VERSION: &str = "2010-05-15";

/// Most bytes of the unique id, which names the sender.
pub const UNIQUE_ID_BYTES: usize = 64;

/// The outcome of a signal that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signalled {
    /// CloudFormation accepted it.
    Taken,
    /// CloudFormation no longer waits for the signal, in its own words: the signal is late or repeated.
    NobodyWaits(String),
}

/// The body of a signal, as a wait condition takes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Signal {
    /// `SUCCESS` or `FAILURE`.
    pub status: &'static str,
    /// The sender's unique id.
    pub unique_id: String,
    /// The value that the template gets.
    pub data: String,
    /// The reason, in words.
    pub reason: String,
}

/// Signals to resources of stacks.
#[derive(Debug, Clone)]
pub struct CloudFormation(SignedCalls);

impl CloudFormation {
    /// Uses the SDK's credentials and endpoint, in this region or else the SDK's.
    ///
    /// # Errors
    /// See [`SignedCallsError`].
    pub async fn of_clients(clients: &Clients, region: Option<String>) -> Result<Self, SignedCallsError> {
        let calls = SignedCalls::of_clients(clients).await;
        match region {
            Some(region) => calls.map(|calls| Self(calls.in_region(Region::new(region)))),
            None => calls.map(Self),
        }
    }

    /// Signals once.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn signal(&self, stack: &str, resource: &str, signal: &Signal) -> Result<Signalled, Fault> {
        let parameters = [
            ("StackName", stack),
            ("LogicalResourceId", resource),
            ("UniqueId", signal.unique_id.as_str()),
            ("Status", signal.status),
        ];
        match self.0.query(&SIGNAL_RESOURCE, VERSION, "SignalResource", &parameters).await {
            Ok(_) => Ok(Signalled::Taken),
            Err(fault) if nobody_waits(&fault) => Ok(Signalled::NobodyWaits(fault.message)),
            Err(fault) => Err(fault),
        }
    }
}

/// The service says this only in its message, with or without a space.
fn nobody_waits(fault: &Fault) -> bool {
    let text = fault.message.to_ascii_lowercase();
    fault.code.as_deref() == Some("ValidationError")
        && (text.contains("cannot be signal") || text.contains("can not be signal"))
}

/// The handle of a wait condition.
#[derive(Clone)]
pub struct WaitCondition {
    http: reqwest::Client,
    url: String,
}

impl WaitCondition {
    /// Uses the handle's presigned URL, with the configured proxy and certificates.
    ///
    /// # Errors
    /// When the certificates or the proxy cannot be used.
    pub fn of_clients(clients: &Clients, url: String) -> Result<Self, SignedCallsError> {
        Ok(Self { http: http_client_of(clients)?, url })
    }

    /// Signals once. The URL is signed for an empty content type, so that none is sent.
    ///
    /// # Errors
    /// A [`Fault`]. It does not repeat the URL, because a reader who has the URL may signal.
    pub async fn signal(&self, signal: &Signal) -> Result<(), Fault> {
        let fatal = |problem: String| Fault::without_answer(FaultKind::Fatal, problem);
        let parsed = reqwest::Url::parse(&self.url);
        let url = parsed.map_err(|e| fatal(format!("the wait condition's address is not a URL: {e}")))?;
        let body = serde_json::to_vec(signal).map_err(|e| fatal(e.to_string()))?;
        let sent = self.http.put(url).timeout(SIGNAL_RESOURCE.timeout).body(body).send().await;
        let answer = sent.map_err(|e| Fault::without_answer(FaultKind::Transient, e.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let kind = if status.is_server_error() { FaultKind::Transient } else { FaultKind::Fatal };
        Err(Fault::without_answer(
            kind,
            format!("the wait condition's handle answers {status}; the URL is good for a time only"),
        ))
    }
}
