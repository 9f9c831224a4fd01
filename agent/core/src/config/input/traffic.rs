//! The keys below `traffic` of a group.

use super::field::{Field, VALUES, put};
use crate::appspec::diagnose::Findings;
use crate::traffic::{TrafficMode, TrafficSettings};
use crate::values::Unfit;

const MODES: &[(&str, TrafficMode)] =
    &[("none", TrafficMode::None), ("standby", TrafficMode::Standby), ("target_groups", TrafficMode::TargetGroups)];

pub(super) fn read(settings: &mut TrafficSettings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        match field.name() {
            "mode" => put(&mut settings.mode, field.word(MODES, findings)),
            "surge" => put(&mut settings.surge, field.boolean(findings)),
            "target_groups" => put(&mut settings.target_groups, target_groups(&field, findings)),
            "despite_elb_health_checks" => put(&mut settings.despite_elb_health_checks, field.boolean(findings)),
            "suppress_status_checks" => put(&mut settings.suppress_status_checks, field.boolean(findings)),
            "timeout" => put(&mut settings.timeout_seconds, field.duration(findings)),
            _ => {}
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
            VALUES.say(section.entry, message, findings).help(format!("add mode: {mode}, or leave it out"));
        }
    }
}

/// ARNs of target groups; `auto` are those of the Auto Scaling group.
fn target_groups(field: &Field<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    if field.entry.value.as_sequence().is_some() {
        return field.each(findings, arn);
    }
    field.read(findings, |text| match text {
        "auto" => Ok(Vec::new()),
        text if text.starts_with("arn:") => arn(text).map(|arn| vec![arn]),
        _ => Err(Unfit::bare("auto or a list of ARNs")),
    })
}

fn arn(text: &str) -> Result<String, Unfit> {
    const EXPECTED: &str = "the ARN of a target group";
    let is_arn = text.starts_with("arn:") && text.contains(":elasticloadbalancing:") && text.contains(":targetgroup/");
    if is_arn && !text.contains(":loadbalancer/") {
        return Ok(text.to_owned());
    }
    if text.contains(":loadbalancer/") || !text.contains(':') {
        let help = "load balancers are not named here, and classic ones are not supported; traffic with mode: standby \
                    goes with them";
        return Err(Unfit::new(EXPECTED, help));
    }
    Err(Unfit::bare(EXPECTED))
}
