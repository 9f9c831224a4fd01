//! The keys below `auto_scaling`.

use super::{Entry, Findings, Node, flag, invalid, known, mapping, not_one_of, quoted, seconds, text, wrong_type};
use crate::config::settings::AutoScalingSettings;
use crate::lifecycle::{Rebalance, WithoutRelease};

/// Keys below `auto_scaling`.
const KEYS: &[&str] = &[
    "launch_hooks",
    "terminate_hooks",
    "launch_timeout",
    "without_release",
    "abandon_failed_shutdown",
    "rebalance",
    "set_instance_health_after",
    "poll",
];

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
            "set_instance_health_after" => {
                let after = seconds(entry, findings);
                settings.set_instance_health_after_seconds = after.or(settings.set_instance_health_after_seconds);
            }
            "poll" => settings.poll_seconds = seconds(entry, findings).unwrap_or(settings.poll_seconds),
            "rebalance" => one_of(&mut settings.rebalance, REBALANCE, entry, findings),
            _ => one_of(&mut settings.without_release, WITHOUT_RELEASE, entry, findings),
        }
    }
}

/// Values of `without_release`.
const WITHOUT_RELEASE: &[(&str, WithoutRelease)] =
    &[("continue", WithoutRelease::Continue), ("wait", WithoutRelease::Wait), ("abandon", WithoutRelease::Abandon)];

/// Values of `rebalance`.
const REBALANCE: &[(&str, Rebalance)] =
    &[("note", Rebalance::Note), ("hold", Rebalance::Hold), ("drain", Rebalance::Drain)];

fn one_of<T: Copy>(target: &mut T, words: &[(&str, T)], entry: &Entry, findings: &mut Findings) {
    let Some(text) = text(entry, findings) else { return };
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => *target = *value,
        None => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            not_one_of(entry, text, &words, findings);
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
