//! The keys below `auto_scaling`.

use super::{Entry, Findings, Node, flag, invalid, known, mapping, quoted, seconds, text, wrong_type};
use crate::config::settings::AutoScalingSettings;
use crate::lifecycle::WithoutRelease;

/// Keys below `auto_scaling`.
const KEYS: &[&str] =
    &["launch_hooks", "terminate_hooks", "launch_timeout", "without_release", "abandon_failed_shutdown", "poll"];

pub(super) fn read(settings: &mut Option<AutoScalingSettings>, node: &Node, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    let Some(entries) = mapping(node, "auto_scaling", findings) else { return };
    for entry in known(entries, KEYS, "auto_scaling", findings) {
        match entry.key.text.as_str() {
            "launch_hooks" => hooks(&mut settings.launch_hooks, entry, findings),
            "terminate_hooks" => hooks(&mut settings.terminate_hooks, entry, findings),
            "launch_timeout" => {
                settings.launch_timeout_seconds = seconds(entry, findings).unwrap_or(settings.launch_timeout_seconds);
            }
            "abandon_failed_shutdown" => flag(&mut settings.abandon_failed_shutdown, entry, findings),
            "poll" => settings.poll_seconds = seconds(entry, findings).unwrap_or(settings.poll_seconds),
            _ => match text(entry, findings) {
                Some("continue") => settings.without_release = WithoutRelease::Continue,
                Some("wait") => settings.without_release = WithoutRelease::Wait,
                Some("abandon") => settings.without_release = WithoutRelease::Abandon,
                Some(other) => {
                    invalid(entry, format!("{} is none of continue, wait, abandon", quoted(other)), findings);
                }
                None => {}
            },
        }
    }
}

/// Names of lifecycle hooks (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html>).
fn hooks(target: &mut Vec<String>, entry: &Entry, findings: &mut Findings) {
    let Some(items) = entry.value.as_sequence() else {
        return wrong_type(&entry.value, &entry.key.text, "a list", findings);
    };
    let mut names = Vec::new();
    for item in items {
        let name = item.as_scalar().map_or("", |scalar| scalar.text.as_str());
        let sign = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
        if name.is_empty() || name.len() > 255 || !name.bytes().all(sign) {
            return invalid(entry, format!("{} is not the name of a lifecycle hook", quoted(name)), findings);
        }
        names.push(name.to_owned());
    }
    *target = names;
}
