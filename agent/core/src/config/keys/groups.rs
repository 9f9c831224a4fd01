//! The keys of a deployment group.

use super::{Key, Kind};
use crate::values::YEAR_SECONDS;

const DURATION: Kind = Kind::Duration(1, YEAR_SECONDS);

/// The lifecycle events by name; a test compares them with the order of events.
pub(super) const EVENTS: &[&str] = &[
    "DownloadBundle",
    "BeforeBlockTraffic",
    "BlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AllowTraffic",
    "AfterAllowTraffic",
];

pub(super) const GROUPS: &[Key] = &[
    Key::new("groups[].application", Kind::Form("name"), "The application's name, as in the channel; every entry has it.", "web"),
    Key::new("groups[].group", Kind::Form("name"), "The deployment group's name, as in the channel; every entry has it.", "staging"),
    Key::new("groups[].channel", Kind::Form("s3://BUCKET/PREFIX, file:///DIR or absolute path"), "The store whose releases this group follows; without it you deploy by hand.", "s3://my-bucket/deploy"),
    Key::new("groups[].poll", DURATION, "The time between two polls of the channel.", "10s").otherwise("`poll` at the top"),
    Key::new("groups[].wake_up_queue", Kind::Form("address of an SQS queue"), "The address of an SQS queue whose messages announce a change of the channel.", "https://sqs.eu-west-1.amazonaws.com/111122223333/web"),
    Key::new("groups[].minimum_sequence", Kind::Whole(0, u64::MAX), "Releases with a lower sequence are refused, also by a host that never saw a release.", "40").otherwise("none"),
    Key::new("groups[].sequence_epoch", Kind::Whole(0, u64::MAX), "Another number here makes the agent forget the sequences that it accepted before.", "1").usually("0"),
    Key::new("groups[].require_store", Kind::Boolean, "Releases must name the store that they are for.", "true").usually("false"),
    Key::new("groups[].ignore_application_stop_failures", Kind::Boolean, "A deployment goes on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic.", "true").usually("false"),
    Key::new("groups[].cleanup", Kind::Boolean, "A deployment removes the files that the last one installed and this one does not.", "false").usually("true"),
    Key::new("groups[].file_exists_behavior", Kind::Word(&["DISALLOW", "OVERWRITE", "RETAIN"]), "What a deployment does with existing files that the last one did not install; the appspec's value wins.", "OVERWRITE").usually("DISALLOW"),
    Key::new("groups[].rollback", Kind::Either(&Kind::Boolean, &Kind::Words(EVENTS)), "The agent returns to the last good revision when a deployment fails: always, never, or when one of these lifecycle events fails.", "[ValidateService]").usually("true"),
    Key::new("groups[].max_revisions", Kind::Whole(2, 1000), "How many revisions stay on the host.", "7").usually("5").hint("the installed revision and one to return to always stay"),
    Key::new("groups[].max_revision_bytes", Kind::Size(0, u64::MAX), "The space that the revisions may take together; the installed and the last good one always stay.", "2G").otherwise("no bound"),
    Key::new("groups[].keep_bundle", Kind::Boolean, "The last bundle stays packed on the host, so that the next deployment fetches less.", "false").usually("true"),
    Key::new("groups[].bake_time", DURATION, "The time after a deployment for which the health checks must stay healthy; the appspec's value wins.", "5m").otherwise("none"),
    Key::new("groups[].health", Kind::Checks, "Health checks in addition to the appspec's, with the same keys.", "[{tcp: '127.0.0.1:8080', interval: 10s}]"),
    Key::new("groups[].report", Kind::Boolean, "The agent reports in the channel's store which revision this host runs.", "false").usually("true"),
    Key::new("groups[].traffic", Kind::Section, "How a deployment takes this host out of service and back.", "{mode: standby}"),
];

/// An example.
const TARGET_GROUPS: &str = "['arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef']";

pub(super) const TRAFFIC: &[Key] = &[
    Key::new("groups[].traffic.mode", Kind::Word(&["none", "standby", "target_groups"]), "The way out of service: none, Standby of the Auto Scaling group, or deregistration from target groups.", "standby").usually("none"),
    Key::new("groups[].traffic.surge", Kind::Boolean, "With Standby: the desired capacity stays, so that the Auto Scaling group launches another host meanwhile.", "true").usually("false").beside("mode: standby"),
    Key::new("groups[].traffic.target_groups", Kind::Either(&Kind::Word(&["auto"]), &Kind::Texts), "ARNs of target groups; `auto` takes those of the Auto Scaling group.", TARGET_GROUPS).usually("auto").beside("mode: target_groups"),
    Key::new("groups[].traffic.despite_elb_health_checks", Kind::Boolean, "With target groups: the agent acts although the Auto Scaling group replaces hosts that its load balancers report as unhealthy.", "true").usually("false").beside("mode: target_groups"),
    Key::new("groups[].traffic.suppress_status_checks", Kind::Boolean, "The agent suppresses EC2's application status checks meanwhile.", "true").usually("false"),
    Key::new("groups[].traffic.timeout", DURATION, "The time until the host must be in service again.", "5m").usually("10m"),
];
