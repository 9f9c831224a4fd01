//! The four calls of the command service that an agent makes (docs/protocols/codedeploy.md#calls).

use std::time::Duration;

use aws_config::Region;
use bytes::Bytes;
use hostler_core::codedeploy::diagnostics::Report;
use hostler_core::codedeploy::endpoint::Endpoint;
use hostler_core::codedeploy::wire::{
    CommandStatus, Envelope, GetDeploymentSpecificationAnswer, GetDeploymentSpecificationRequest, HostCommand,
    Operation as Name, PollHostCommandAnswer, PollHostCommandRequest, PutHostCommandAcknowledgementAnswer,
    PutHostCommandAcknowledgementRequest, PutHostCommandCompleteRequest,
};
use hostler_core::ids::Sha256Digest;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::codedeploy::identity::Identity;
use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Call, Operation, Service, SignedCalls};

/// Most bytes of an answer: two envelopes and their wrapping.
const ANSWER_BYTES: usize = 256 << 10;
/// For calls that the service answers at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the service will never accept this request, so that sending it again is useless.
pub fn is_refused_for_good(fault: &Fault) -> bool {
    let refusals = ["ClientException", "SerializationException", "ValidationException", "UnknownOperationException"];
    fault.kind == FaultKind::Fatal && fault.code.as_deref().is_some_and(|code| refusals.contains(&code))
}

/// The command service for this host. Each call is one attempt.
#[derive(Debug, Clone)]
pub struct CommandService {
    calls: SignedCalls,
    endpoint: Endpoint,
    url: Url,
    host_identifier: String,
    agent_version: HeaderValue,
    poll_timeout: Duration,
}

impl CommandService {
    /// The service at this endpoint, for this host. `poll_timeout` must be longer than the service holds a poll open.
    ///
    /// # Errors
    /// The endpoint is not a URL, or the version is not valid in a header.
    pub fn new(
        calls: &SignedCalls,
        endpoint: Endpoint,
        identity: Identity,
        agent_version: &str,
        poll_timeout: Duration,
    ) -> Result<Self, Fault> {
        let calls = calls.in_region(Region::new(identity.region));
        let host_identifier = identity.host_identifier;
        let url = format!("{}/", endpoint.url);
        let url = url.parse().map_err(|e| fatal(format!("the endpoint {url:?} is no URL: {e}")))?;
        let agent_version = HeaderValue::from_str(agent_version)
            .map_err(|_| fatal(format!("the agent's version {agent_version:?} cannot be sent")))?;
        Ok(Self { calls, endpoint, url, host_identifier, agent_version, poll_timeout })
    }

    /// The name of this host.
    pub fn host_identifier(&self) -> &str {
        &self.host_identifier
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for a command; while there is none, the service holds the answer back.
    ///
    /// # Errors
    /// The call's fault.
    pub async fn poll(&self) -> Result<Option<HostCommand>, Fault> {
        let request = PollHostCommandRequest { host_identifier: self.host_identifier.clone() };
        let answer: PollHostCommandAnswer = self.call(Name::PollHostCommand, &request).await?;
        Ok(answer.host_command)
    }

    /// Asks for the specification of a command's deployment.
    ///
    /// # Errors
    /// The call's fault.
    pub async fn specification(&self, execution: &str) -> Result<GetDeploymentSpecificationAnswer, Fault> {
        let request = GetDeploymentSpecificationRequest {
            deployment_execution_id: execution.to_owned(),
            host_identifier: self.host_identifier.clone(),
        };
        self.call(Name::GetDeploymentSpecification, &request).await
    }

    /// Reports that a command has arrived; the answer decides whether to carry it out.
    ///
    /// # Errors
    /// The call's fault.
    pub async fn acknowledge(&self, identifier: &str, noop: bool) -> Result<CommandStatus, Fault> {
        let request = PutHostCommandAcknowledgementRequest {
            host_command_identifier: identifier.to_owned(),
            diagnostics: Envelope::acknowledgement(noop),
        };
        let answer: PutHostCommandAcknowledgementAnswer =
            self.call(Name::PutHostCommandAcknowledgement, &request).await?;
        Ok(answer.command_status.unwrap_or(CommandStatus::InProgress))
    }

    /// Reports the end of a command.
    ///
    /// # Errors
    /// The call's fault.
    pub async fn complete(&self, identifier: &str, report: &Report) -> Result<(), Fault> {
        let request = PutHostCommandCompleteRequest {
            host_command_identifier: identifier.to_owned(),
            command_status: report.status,
            diagnostics: report.envelope(),
        };
        let _: IgnoredAny = self.call(Name::PutHostCommandComplete, &request).await?;
        Ok(())
    }

    async fn call<Answer: DeserializeOwned>(&self, name: Name, request: &impl Serialize) -> Result<Answer, Fault> {
        let body = serde_json::to_vec(request).map_err(|e| fatal(format!("the request cannot be written: {e}")))?;
        let target = format!("{}.{}", self.endpoint.target_prefix, name.name());
        let target = HeaderValue::from_str(&target).map_err(|e| fatal(e.to_string()))?;
        let digest = HeaderValue::from_str(&Sha256Digest::of(&body).hex()).map_err(|e| fatal(e.to_string()))?;
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1")),
            (HeaderName::from_static("x-amz-target"), target),
            (HeaderName::from_static("x-amz-content-sha256"), digest),
            (HeaderName::from_static("x-amz-codedeploy-agent-version"), self.agent_version.clone()),
        ]);
        let call = Call {
            operation: self.operation(name),
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: Bytes::from(body),
        };
        let answer = self.calls.send(&call).await?;
        // Operations without an answer send nothing at all or an empty object.
        let body: &[u8] = if answer.body.is_empty() { b"{}" } else { &answer.body };
        serde_json::from_slice(body)
            .map_err(|e| fatal(format!("the answer to {} cannot be understood: {e}", name.name())))
    }

    fn operation(&self, name: Name) -> Operation {
        let (action, timeout) = match name {
            Name::PollHostCommand => ("codedeploy-commands-secure:PollHostCommand", self.poll_timeout),
            Name::PutHostCommandAcknowledgement => {
                ("codedeploy-commands-secure:PutHostCommandAcknowledgement", TIMEOUT)
            }
            Name::GetDeploymentSpecification => ("codedeploy-commands-secure:GetDeploymentSpecification", TIMEOUT),
            Name::PutHostCommandComplete => ("codedeploy-commands-secure:PutHostCommandComplete", TIMEOUT),
        };
        let service = Service { endpoint_prefix: self.endpoint.signing_name, signing_name: self.endpoint.signing_name };
        Operation { service, action, timeout, answer_bytes: ANSWER_BYTES }
    }
}

fn fatal(message: String) -> Fault {
    Fault { kind: FaultKind::Fatal, status: None, code: None, message, request_id: None, extended_request_id: None }
}
