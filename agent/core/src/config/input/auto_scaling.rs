//! The keys below `auto_scaling`.

use super::field::{Field, put, set};
use crate::appspec::diagnose::Findings;
use crate::config::settings::AutoScalingSettings;
use crate::lifecycle::{Rebalance, WithoutRelease};
use crate::values::Unfit;

const WITHOUT_RELEASE: &[(&str, WithoutRelease)] =
    &[("continue", WithoutRelease::Continue), ("wait", WithoutRelease::Wait), ("abandon", WithoutRelease::Abandon)];
const REBALANCE: &[(&str, Rebalance)] =
    &[("note", Rebalance::Note), ("hold", Rebalance::Hold), ("drain", Rebalance::Drain)];

pub(super) fn read(settings: &mut Option<AutoScalingSettings>, section: &Field<'_>, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    for field in section.fields(findings) {
        match field.name() {
            "launch_hooks" => put(&mut settings.launch_hooks, field.each(findings, hook)),
            "terminate_hooks" => put(&mut settings.terminate_hooks, field.each(findings, hook)),
            "launch_timeout" => put(&mut settings.launch_timeout_seconds, field.duration(findings)),
            "abandon_failed_shutdown" => put(&mut settings.abandon_failed_shutdown, field.boolean(findings)),
            "set_instance_health_after" => {
                set(&mut settings.set_instance_health_after_seconds, field.duration(findings));
            }
            "poll" => put(&mut settings.poll_seconds, field.duration(findings)),
            "rebalance" => put(&mut settings.rebalance, field.word(REBALANCE, findings)),
            "without_release" => put(&mut settings.without_release, field.word(WITHOUT_RELEASE, findings)),
            _ => {}
        }
    }
}

/// The name of a lifecycle hook
/// (<https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html>).
fn hook(text: &str) -> Result<String, Unfit> {
    let sign = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(sign) {
        let help = "a name has 1 to 255 letters, digits and - _ /";
        return Err(Unfit::new("the name of a lifecycle hook", help));
    }
    Ok(text.to_owned())
}
