//! The keys below `codedeploy`.

use super::field::{Field, put, set};
use crate::appspec::diagnose::Findings;
use crate::config::settings::{ChangedSigner, CodeDeploySettings, RunningAgent};
use crate::values::Unfit;

const RUNNING_AGENT: &[(&str, RunningAgent)] = &[("wait", RunningAgent::Wait), ("refuse", RunningAgent::Refuse)];
const CHANGED_SIGNER: &[(&str, ChangedSigner)] =
    &[("report", ChangedSigner::Report), ("refuse", ChangedSigner::Refuse)];

pub(super) fn read(settings: &mut CodeDeploySettings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        match field.name() {
            "enabled" => put(&mut settings.enabled, field.boolean(findings)),
            "agent_config" => put(&mut settings.agent_config, field.path(findings)),
            "signer_authorities" => set(&mut settings.signer_authorities, field.path(findings)),
            "running_agent" => put(&mut settings.running_agent, field.word(RUNNING_AGENT, findings)),
            "changed_signer" => put(&mut settings.changed_signer, field.word(CHANGED_SIGNER, findings)),
            "github_api" => put(&mut settings.github_api, field.read(findings, github)),
            _ => {}
        }
    }
}

/// Plain http is allowed on this host only: the token goes there.
fn github(text: &str) -> Result<String, Unfit> {
    if text.starts_with("https://") || text.starts_with("http://127.0.0.1:") {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(Unfit::bare("an address that begins with https://"))
}
