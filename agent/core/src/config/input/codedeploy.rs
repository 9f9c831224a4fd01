//! The keys below `codedeploy`.

use super::{Entry, Findings, Node, flag, invalid, known, mapping, quoted, text};
use crate::config::settings::{ChangedSigner, CodeDeploySettings, RunningAgent};
use crate::store::without_secrets;

const KEYS: &[&str] =
    &["enabled", "agent_config", "running_agent", "changed_signer", "signer_authorities", "github_api"];

pub(super) fn read(settings: &mut CodeDeploySettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "codedeploy", findings) else { return };
    for entry in known(entries, KEYS, "codedeploy", findings) {
        match entry.key.text.as_str() {
            "enabled" => flag(&mut settings.enabled, entry, findings),
            "agent_config" => {
                settings.agent_config = absolute(entry, findings).unwrap_or(settings.agent_config.clone());
            }
            "signer_authorities" => settings.signer_authorities = absolute(entry, findings),
            "running_agent" => match text(entry, findings) {
                Some("wait") => settings.running_agent = RunningAgent::Wait,
                Some("refuse") => settings.running_agent = RunningAgent::Refuse,
                Some(other) => invalid(entry, format!("{} is neither wait nor refuse", quoted(other)), findings),
                None => {}
            },
            "changed_signer" => match text(entry, findings) {
                Some("report") => settings.changed_signer = ChangedSigner::Report,
                Some("refuse") => settings.changed_signer = ChangedSigner::Refuse,
                Some(other) => invalid(entry, format!("{} is neither report nor refuse", quoted(other)), findings),
                None => {}
            },
            _ => match text(entry, findings) {
                // Plain http is allowed on this host only: the token goes there.
                Some(url) if url.starts_with("https://") || url.starts_with("http://127.0.0.1:") => {
                    settings.github_api = url.trim_end_matches('/').to_owned();
                }
                Some(url) => {
                    invalid(entry, format!("{} does not begin with https://", quoted(&without_secrets(url))), findings)
                }
                None => {}
            },
        }
    }
}

fn absolute(entry: &Entry, findings: &mut Findings) -> Option<std::path::PathBuf> {
    match text(entry, findings) {
        Some(path) if path.starts_with('/') => Some(path.into()),
        Some(path) => {
            invalid(entry, format!("{} is not an absolute path", quoted(path)), findings);
            None
        }
        None => None,
    }
}
