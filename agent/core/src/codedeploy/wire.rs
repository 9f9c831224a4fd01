//! The command service's requests and answers (docs/protocols/codedeploy.md#calls): JSON 1.1, member names as they are.

use serde::{Deserialize, Serialize};

/// Most bytes of an envelope's payload; the service refuses more.
pub const MOST_PAYLOAD_BYTES: usize = 8192;

/// The operations that the agent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a command; the service may hold the answer for up to a minute.
    PollHostCommand,
    /// Reports that a command has come, and whether it has any work.
    PutHostCommandAcknowledgement,
    /// Asks for the specification of the command's deployment.
    GetDeploymentSpecification,
    /// Reports the result of a command.
    PutHostCommandComplete,
}

impl Operation {
    /// Its name in the target header.
    pub fn name(self) -> &'static str {
        match self {
            Self::PollHostCommand => "PollHostCommand",
            Self::PutHostCommandAcknowledgement => "PutHostCommandAcknowledgement",
            Self::GetDeploymentSpecification => "GetDeploymentSpecification",
            Self::PutHostCommandComplete => "PutHostCommandComplete",
        }
    }
}

/// Request of PollHostCommand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PollHostCommandRequest {
    /// This host.
    pub host_identifier: String,
}

/// Answer of PollHostCommand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PollHostCommandAnswer {
    /// Absent or null when there is nothing to do.
    #[serde(default)]
    pub host_command: Option<HostCommand>,
}

/// One lifecycle event of one deployment, for one host to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostCommand {
    /// The command's opaque name; a command that comes again has the same name.
    pub host_command_identifier: String,
    /// The host that the command is for.
    pub host_identifier: String,
    /// The deployment's name for GetDeploymentSpecification.
    pub deployment_execution_id: String,
    /// The lifecycle event.
    #[serde(default)]
    pub command_name: String,
    /// Unused by the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<i64>,
}

/// Why this host does not execute a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForUs {
    /// The service names another host.
    #[error("the command is for the host {theirs} and this is {ours}; is the host identifier right?")]
    OtherHost {
        /// The host of the command.
        theirs: String,
        /// This host.
        ours: String,
    },
    /// A command without a name.
    #[error("the command has no name")]
    NoName,
}

impl HostCommand {
    /// Checks that the command is for this host: its identifier is this host's or a part of it, as with the CodeDeploy
    /// agent.
    ///
    /// # Errors
    /// When the command is for another host.
    pub fn check(&self, host_identifier: &str) -> Result<(), NotForUs> {
        // Every text contains the empty one, and a command without a host is not for this one.
        if self.host_identifier.is_empty() || !host_identifier.contains(&self.host_identifier) {
            let (theirs, ours) = (self.host_identifier.clone(), host_identifier.to_owned());
            return Err(NotForUs::OtherHost { theirs, ours });
        }
        if self.command_name.is_empty() { Err(NotForUs::NoName) } else { Ok(()) }
    }
}

/// The service's status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// Not begun.
    Pending,
    /// Acknowledged.
    InProgress,
    /// Ended well.
    Succeeded,
    /// Ended badly, by a report or by the service's time limit.
    Failed,
}

/// A text and its format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Envelope {
    /// `JSON` for diagnostics, `PKCS7/JSON` or `TEXT/JSON` for specifications.
    pub format: String,
    /// The text; empty where the service sends none.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub payload: String,
}

fn text_or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Envelope {
    /// Diagnostics: JSON, of at most [`MOST_PAYLOAD_BYTES`].
    pub fn json(payload: String) -> Self {
        Self { format: "JSON".to_owned(), payload }
    }

    /// The diagnostics of an acknowledgement.
    pub fn acknowledgement(noop: bool) -> Self {
        Self::json(format!("{{\"IsCommandNoop\":{noop}}}"))
    }
}

/// Request of PutHostCommandAcknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutHostCommandAcknowledgementRequest {
    /// The command.
    pub host_command_identifier: String,
    /// Whether there is any work for it.
    pub diagnostics: Envelope,
}

/// Answer of PutHostCommandAcknowledgement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutHostCommandAcknowledgementAnswer {
    /// The command's status. With `Succeeded` or `Failed` the agent must not execute it.
    #[serde(default)]
    pub command_status: Option<CommandStatus>,
}

/// Request of GetDeploymentSpecification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetDeploymentSpecificationRequest {
    /// The command's.
    pub deployment_execution_id: String,
    /// This host.
    pub host_identifier: String,
}

/// Answer of GetDeploymentSpecification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetDeploymentSpecificationAnswer {
    /// The agent that it is for.
    #[serde(default)]
    pub deployment_system: Option<String>,
    /// The deployment's specification.
    #[serde(default)]
    pub deployment_specification: Option<DeploymentSpecification>,
}

/// A deployment's specification, in its envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeploymentSpecification {
    /// The specification.
    #[serde(default)]
    pub generic_envelope: Option<Envelope>,
}

/// Why an answer holds no specification for this agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSpecification {
    /// It is for another agent.
    #[error("Deployment System mismatch: CodeDeploy != {0}")]
    OtherSystem(String),
    /// There is none.
    #[error("Deployment Specification missing")]
    Missing,
}

impl GetDeploymentSpecificationAnswer {
    /// The specification's envelope.
    ///
    /// # Errors
    /// When the answer has none or is for another deployment system.
    pub fn envelope(self) -> Result<Envelope, NoSpecification> {
        match self.deployment_system.as_deref() {
            Some("CodeDeploy") => {}
            other => return Err(NoSpecification::OtherSystem(other.unwrap_or_default().to_owned())),
        }
        let envelope = self.deployment_specification.and_then(|s| s.generic_envelope);
        envelope.filter(|envelope| !envelope.payload.is_empty()).ok_or(NoSpecification::Missing)
    }
}

/// Request of PutHostCommandComplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutHostCommandCompleteRequest {
    /// The command.
    pub host_command_identifier: String,
    /// `Succeeded` or `Failed`.
    pub command_status: CommandStatus,
    /// The diagnostics.
    pub diagnostics: Envelope,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_service_reads() {
        let text = |v: &dyn erased::Json| v.json();
        assert_eq!(
            text(&PollHostCommandRequest { host_identifier: "arn:x".to_owned() }),
            r#"{"HostIdentifier":"arn:x"}"#
        );
        assert_eq!(
            text(&PutHostCommandAcknowledgementRequest {
                host_command_identifier: "c".to_owned(),
                diagnostics: Envelope::acknowledgement(true),
            }),
            r#"{"HostCommandIdentifier":"c","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":true}"}}"#
        );
        assert_eq!(
            text(&GetDeploymentSpecificationRequest {
                deployment_execution_id: "a/b/c/d".to_owned(),
                host_identifier: "h".to_owned(),
            }),
            r#"{"DeploymentExecutionId":"a/b/c/d","HostIdentifier":"h"}"#
        );
        assert_eq!(
            text(&PutHostCommandCompleteRequest {
                host_command_identifier: "c".to_owned(),
                command_status: CommandStatus::Failed,
                diagnostics: Envelope::json("{}".to_owned()),
            }),
            r#"{"HostCommandIdentifier":"c","CommandStatus":"Failed","Diagnostics":{"Format":"JSON","Payload":"{}"}}"#
        );
    }

    mod erased {
        /// A value that can be written as JSON.
        pub trait Json {
            fn json(&self) -> String;
        }
        impl<T: serde::Serialize> Json for T {
            fn json(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
        }
    }

    #[test]
    fn an_empty_poll_comes_in_three_forms() {
        for text in ["{}", r#"{"HostCommand":null}"#, r#"{"HostCommand":null,"More":1}"#] {
            let answer: PollHostCommandAnswer = serde_json::from_slice(text.as_bytes()).unwrap();
            assert_eq!(answer.host_command, None, "{text}");
        }
    }

    fn command(host: &str, name: &str) -> HostCommand {
        HostCommand {
            host_command_identifier: "c".to_owned(),
            host_identifier: host.to_owned(),
            deployment_execution_id: "e".to_owned(),
            command_name: name.to_owned(),
            nonce: None,
        }
    }

    #[test]
    fn a_command_is_ours_when_its_host_is_part_of_ours() {
        let ours = "arn:aws:ec2:eu-west-1:1:instance/i-1";
        assert!(command(ours, "Install").check(ours).is_ok());
        assert!(command("instance/i-1", "Install").check(ours).is_ok());
        assert!(matches!(command("i-2", "Install").check(ours), Err(NotForUs::OtherHost { .. })));
        assert!(matches!(command("", "Install").check(ours), Err(NotForUs::OtherHost { .. })));
        assert_eq!(command(ours, "").check(ours), Err(NotForUs::NoName));
    }

    #[test]
    fn a_specification_must_be_for_codedeploy_and_be_there() {
        let read = |text: &str| {
            serde_json::from_slice::<GetDeploymentSpecificationAnswer>(text.as_bytes()).unwrap().envelope()
        };
        let good = r#"{"DeploymentSystem":"CodeDeploy","DeploymentSpecification":
            {"GenericEnvelope":{"Format":"PKCS7/JSON","Payload":"x"},"VariantId":null}}"#;
        assert_eq!(read(good).unwrap().payload, "x");
        assert!(matches!(read(r#"{"DeploymentSystem":"Apollo"}"#), Err(NoSpecification::OtherSystem(_))));
        assert!(matches!(read("{}"), Err(NoSpecification::OtherSystem(_))));
        assert_eq!(read(r#"{"DeploymentSystem":"CodeDeploy"}"#), Err(NoSpecification::Missing));
    }
}
