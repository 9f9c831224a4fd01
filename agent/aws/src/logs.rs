//! CloudWatch Logs: PutLogEvents, which is called all the time, and the calls that make a group and a stream, which are
//! made once.
//!
//! API model of service `logs`, 2014-03-28. Nothing is described first: a batch is put, and its group and stream are
//! made when the service says that they do not exist.

use std::time::Duration;

use bytes::Bytes;
use hostler_core::logs::answer::{Rejected, accepted};
use hostler_core::logs::settings::GroupWish;
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Call, JsonVersion, Operation, Service, SignedCalls};

const LOGS: Service = Service { endpoint_prefix: "logs", signing_name: "logs" };
/// Time for a megabyte on a slow line, and for a slow answer.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES: usize = 64 << 10;

const PUT: Operation =
    Operation { service: LOGS, action: "logs:PutLogEvents", timeout: PUT_TIMEOUT, answer_bytes: ANSWER_BYTES };

const fn rare(action: &'static str) -> Operation {
    Operation { service: LOGS, action, timeout: TIMEOUT, answer_bytes: ANSWER_BYTES }
}

/// The outcome of a batch.
#[derive(Debug)]
pub enum Put {
    /// The service has accepted it, except for the events counted here.
    Accepted(Rejected),
    /// Its group or its stream does not exist.
    Missing,
    /// The service refuses part of its content.
    Refused(Fault),
    /// The service may or may not have accepted it; no problem with the batch is known.
    Failed(Fault),
}

/// The service, in one region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CloudWatchLogs {
    calls: SignedCalls,
}

/// An answer without anything in it.
#[derive(Deserialize)]
struct Nothing {}

impl CloudWatchLogs {
    /// Uses these signed calls.
    pub fn new(calls: SignedCalls) -> Self {
        Self { calls }
    }

    /// Puts a batch of so many events; `body` is the request's JSON, which may be in gzip.
    pub async fn put(&self, body: Bytes, is_gzip: bool, events: usize) -> Put {
        let url = match self.calls.endpoint(&PUT) {
            Ok(url) => url,
            Err(fault) => return Put::Failed(fault),
        };
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1")),
            (HeaderName::from_static("x-amz-target"), HeaderValue::from_static("Logs_20140328.PutLogEvents")),
        ]);
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let call = Call { operation: PUT, method: Method::POST, url, headers, body };
        match self.calls.send(&call).await {
            Ok(answer) => Put::Accepted(accepted(&answer.body, events)),
            Err(fault) => of_fault(fault),
        }
    }

    /// Makes a stream, and its group if the group does not exist. Returns whether it made the group: the caller must
    /// then set the retention.
    ///
    /// # Errors
    /// The first [`Fault`]. It is no fault if another process makes the same stream or group at the same time.
    pub async fn create(&self, group: &str, stream: &str, wish: &GroupWish) -> Result<bool, Fault> {
        let made_stream = self.create_stream(group, stream).await;
        match made_stream {
            Err(fault) if is_missing(&fault) => {}
            other => return other.map(|()| false),
        }
        let mut input = json!({ "logGroupName": group });
        if let Some(class) = wish.log_group_class {
            input["logGroupClass"] = class.name().into();
        }
        if !wish.tags.is_empty() {
            input["tags"] = wish.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        }
        const OPERATION: Operation = rare("logs:CreateLogGroup");
        let created = self.call(&OPERATION, "Logs_20140328.CreateLogGroup", &input).await;
        let is_ours = match created {
            Ok(()) => true,
            Err(fault) if is_there(&fault) => false,
            Err(fault) => return Err(fault),
        };
        self.create_stream(group, stream).await?;
        Ok(is_ours)
    }

    async fn create_stream(&self, group: &str, stream: &str) -> Result<(), Fault> {
        const OPERATION: Operation = rare("logs:CreateLogStream");
        let input = json!({ "logGroupName": group, "logStreamName": stream });
        match self.call(&OPERATION, "Logs_20140328.CreateLogStream", &input).await {
            Err(fault) if is_there(&fault) => Ok(()),
            other => other,
        }
    }

    /// Sets for how long a group keeps its events. Five a second in an account are allowed, so a fleet has to be
    /// patient.
    ///
    /// # Errors
    /// The [`Fault`] of the call.
    pub async fn put_retention(&self, group: &str, days: u32) -> Result<(), Fault> {
        const OPERATION: Operation = rare("logs:PutRetentionPolicy");
        let input = json!({ "logGroupName": group, "retentionInDays": days });
        self.call(&OPERATION, "Logs_20140328.PutRetentionPolicy", &input).await
    }

    async fn call(&self, operation: &Operation, target: &'static str, input: &serde_json::Value) -> Result<(), Fault> {
        self.calls.json::<Nothing>(operation, JsonVersion::V1_1, target, input).await.map(|_| ())
    }
}

fn of_fault(fault: Fault) -> Put {
    match (fault.code.as_deref(), fault.status) {
        // Today's service never sends this, but its model still has it: the batch is there.
        (Some("DataAlreadyAcceptedException"), _) => Put::Accepted(Rejected::default()),
        _ if is_missing(&fault) => Put::Missing,
        // Not a matter of the batch.
        (Some("InvalidSequenceTokenException"), _) => Put::Failed(fault),
        (_, Some(400 | 413)) if fault.kind == FaultKind::Fatal => Put::Refused(fault),
        _ => Put::Failed(fault),
    }
}

fn is_missing(fault: &Fault) -> bool {
    fault.code.as_deref() == Some("ResourceNotFoundException")
}

fn is_there(fault: &Fault) -> bool {
    fault.code.as_deref() == Some("ResourceAlreadyExistsException")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, status: u16, code: &str) -> Fault {
        let mut fault = Fault::broken("x");
        (fault.kind, fault.status, fault.code) = (kind, Some(status), Some(code.to_owned()));
        fault
    }

    #[test]
    fn a_fault_of_the_batch_is_told_from_all_others() {
        let put = |kind, status, code| of_fault(fault(kind, status, code));
        assert!(matches!(put(FaultKind::Fatal, 400, "InvalidParameterException"), Put::Refused(_)));
        assert!(matches!(put(FaultKind::Fatal, 400, "SerializationException"), Put::Refused(_)));
        assert!(matches!(put(FaultKind::Absent, 400, "ResourceNotFoundException"), Put::Missing));
        assert!(matches!(put(FaultKind::Throttled, 400, "ThrottlingException"), Put::Failed(_)));
        assert!(matches!(put(FaultKind::Expired, 400, "ExpiredTokenException"), Put::Failed(_)));
        assert!(matches!(put(FaultKind::Fatal, 400, "DataAlreadyAcceptedException"), Put::Accepted(_)));
        assert!(matches!(of_fault(Fault::broken("reset")), Put::Failed(_)));
    }
}
