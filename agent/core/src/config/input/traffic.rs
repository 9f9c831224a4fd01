//! The keys below `traffic` of a group.

use super::{Entry, Findings, Node, flag, invalid, known, mapping, not_one_of, quoted, seconds, text, wrong_type};
use crate::appspec::codes::Code;
use crate::traffic::{TrafficMode, TrafficSettings};

/// Keys below `traffic`.
const KEYS: &[&str] =
    &["mode", "surge", "target_groups", "despite_elb_health_checks", "suppress_status_checks", "timeout"];

pub(super) fn read(settings: &mut TrafficSettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "traffic", findings) else { return };
    for entry in known(entries, KEYS, "traffic", findings) {
        match entry.key.text.as_str() {
            "mode" => match text(entry, findings) {
                Some("none") => settings.mode = TrafficMode::None,
                Some("standby") => settings.mode = TrafficMode::Standby,
                Some("target_groups") => settings.mode = TrafficMode::TargetGroups,
                Some(other) => not_one_of(entry, other, &["none", "standby", "target_groups"], findings),
                None => {}
            },
            "surge" => flag(&mut settings.surge, entry, findings),
            "target_groups" => target_groups(&mut settings.target_groups, entry, findings),
            "despite_elb_health_checks" => flag(&mut settings.despite_elb_health_checks, entry, findings),
            "suppress_status_checks" => flag(&mut settings.suppress_status_checks, entry, findings),
            _ => settings.timeout_seconds = seconds(entry, findings).unwrap_or(settings.timeout_seconds),
        }
    }
    let wrong = |needed: bool, given: bool| given && !needed;
    let (standby, targets) = (settings.mode == TrafficMode::Standby, settings.mode == TrafficMode::TargetGroups);
    for (key, mode, is_wrong) in [
        ("surge", "standby", wrong(standby, settings.surge)),
        ("target_groups", "target_groups", wrong(targets, !settings.target_groups.is_empty())),
        ("despite_elb_health_checks", "target_groups", wrong(targets, settings.despite_elb_health_checks)),
    ] {
        if is_wrong {
            let message = format!("traffic: {key} is only for mode: {mode}");
            findings
                .add(Code::InvalidConfiguration, Some(node.at), message)
                .help(format!("add mode: {mode}, or leave it out"));
        }
    }
}

/// ARNs of target groups; `auto` are those of the Auto Scaling group.
fn target_groups(target: &mut Vec<String>, entry: &Entry, findings: &mut Findings) {
    if entry.value.as_scalar().is_some_and(|scalar| scalar.text == "auto") {
        return target.clear();
    }
    let Some(items) = entry.value.as_sequence() else {
        return wrong_type(&entry.value, &entry.key.text, "auto or a list of ARNs", findings);
    };
    let mut arns = Vec::new();
    for item in items {
        let arn = item.as_scalar().map_or("", |scalar| scalar.text.as_str());
        if arn.contains(":loadbalancer/") || !arn.contains(':') {
            let message = format!(
                "{} is not the ARN of a target group; load balancers are not named here, and classic ones are not supported \
                 (traffic: mode: standby goes with them)",
                quoted(arn)
            );
            return invalid(entry, message, findings);
        }
        if !(arn.starts_with("arn:") && arn.contains(":elasticloadbalancing:") && arn.contains(":targetgroup/")) {
            return invalid(entry, format!("{} is not the ARN of a target group", quoted(arn)), findings);
        }
        arns.push(arn.to_owned());
    }
    *target = arns;
}
