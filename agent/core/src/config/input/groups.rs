//! The keys of `groups`.

use super::field::{Field, VALUES, fields, put, set};
use super::{Reader, traffic};
use crate::appspec::codes::Code;
use crate::appspec::diagnose::Findings;
use crate::appspec::extension;
use crate::appspec::spec::FileExistsBehavior;
use crate::config::settings::GroupSettings;
use crate::event_order::LifecycleEvent;
use crate::ids::GroupKey;
use crate::machine::state::{Policy, RollbackPolicy};
use crate::store::S3Location;
use crate::values::{Unfit, boolean, nearest};
use crate::yaml::{Mapping, Node, Position};

const BEHAVIORS: &[(&str, FileExistsBehavior)] = &[
    ("DISALLOW", FileExistsBehavior::Disallow),
    ("OVERWRITE", FileExistsBehavior::Overwrite),
    ("RETAIN", FileExistsBehavior::Retain),
];

impl Reader {
    pub(super) fn groups(&mut self, field: &Field<'_>, findings: &mut Findings) {
        let mut before: Vec<(GroupKey, Position)> = Vec::new();
        for item in field.items("deployment groups", findings) {
            let Some(entries) = VALUES.mapping_of(item, "a group", item.at, findings) else { continue };
            let Some(key) = self.group(item, entries, findings) else { continue };
            // In a later file it adds to the entry of an earlier one. Within one file it is a copy that was not changed.
            if let Some((_, first)) = before.iter().find(|(known, _)| known == &key) {
                let message = format!("{key} has an entry at line {} already", first.line);
                let found = findings.add(Code::InvalidConfiguration, Some(item.at), message);
                found
                    .help("name another group, or put the keys of both into one entry")
                    .related(*first, "the first entry");
            }
            before.push((key, item.at));
        }
    }

    /// The group of the entry, if it is named.
    fn group(&mut self, item: &Node, entries: &Mapping, findings: &mut Findings) -> Option<GroupKey> {
        let fields = fields(entries, "groups[]", findings);
        let find = |name: &str, findings: &mut Findings| {
            let found = fields.iter().find(|field| field.name() == name);
            if found.is_none() {
                let message = format!("`{name}:` is missing in this entry of `groups`");
                findings
                    .add(Code::InvalidConfiguration, Some(item.at), message)
                    .help("name application and group as the channel does");
            }
            found
        };
        let application = find("application", findings).and_then(|field| field.parsed(findings));
        let group = find("group", findings).and_then(|field| field.parsed(findings));
        let (Some(application), Some(group)) = (application, group) else { return None };
        let key = GroupKey::new(application, group);
        for field in &fields {
            if field.name() == "poll" && !self.own_polls.contains(&key) {
                self.own_polls.push(key.clone());
            }
        }
        let settings = self.settings.group_mut(key.clone());
        for field in &fields {
            of_group(settings, field, findings);
        }
        if entries.get("health").is_some() {
            let checks = extension::health(entries, extension::Scripts::OfHost, findings);
            settings.health = checks.into_iter().map(|check| check.check).collect();
        }
        Some(key)
    }
}

fn of_group(settings: &mut GroupSettings, field: &Field<'_>, findings: &mut Findings) {
    match field.name() {
        "channel" => set(&mut settings.channel, field.read(findings, channel)),
        "poll" => put(&mut settings.poll_seconds, field.duration(findings)),
        "wake_up_queue" => set(&mut settings.wake_up_queue, field.read(findings, queue)),
        "minimum_sequence" => set(&mut settings.minimum_sequence, field.whole(findings)),
        "sequence_epoch" => put(&mut settings.sequence_epoch, field.whole(findings)),
        "require_store" => put(&mut settings.require_store, field.boolean(findings)),
        "traffic" => traffic::read(&mut settings.traffic, field, findings),
        "report" => put(&mut settings.report, field.boolean(findings)),
        _ => of_policy(&mut settings.policy, field, findings),
    }
}

fn of_policy(policy: &mut Policy, field: &Field<'_>, findings: &mut Findings) {
    match field.name() {
        "ignore_application_stop_failures" => {
            put(&mut policy.ignore_application_stop_failures, field.boolean(findings));
        }
        "cleanup" => put(&mut policy.cleanup, field.boolean(findings)),
        "rollback" => put(&mut policy.rollback, rollback(field, findings)),
        "file_exists_behavior" => put(&mut policy.file_exists_behavior, field.word(BEHAVIORS, findings)),
        "max_revisions" => put(&mut policy.max_revisions, field.whole(findings)),
        "max_revision_bytes" => set(&mut policy.max_revision_bytes, field.size(findings)),
        "keep_bundle" => put(&mut policy.keep_bundle, field.boolean(findings)),
        "bake_time" => put(&mut policy.bake_seconds, field.duration(findings)),
        _ => {}
    }
}

/// `true`, `false`, or the events whose failure is followed by a rollback.
fn rollback(field: &Field<'_>, findings: &mut Findings) -> Option<RollbackPolicy> {
    if field.entry.value.as_sequence().is_some() {
        return field.each(findings, event).map(RollbackPolicy::Events);
    }
    let expected = |_| Unfit::new("true, false or a list of lifecycle events", "write `rollback: [ValidateService]`");
    let is_on = field.read(findings, |text| boolean(text).map_err(expected))?;
    Some(if is_on { RollbackPolicy::Always } else { RollbackPolicy::Never })
}

fn event(text: &str) -> Result<LifecycleEvent, Unfit> {
    let names = LifecycleEvent::ORDER.each_ref().map(LifecycleEvent::name);
    let found = LifecycleEvent::ORDER.into_iter().find(|event| event.name() == text);
    found.ok_or_else(|| {
        let help = match nearest(text, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the events are {}", names.join(", ")),
        };
        Unfit::new("a lifecycle event", help)
    })
}

/// A store. A relative path would depend on the directory that the agent was started in, and is a forgotten `s3://` as
/// a rule.
fn channel(text: &str) -> Result<String, Unfit> {
    let unfit = |help: &str| Unfit::new("s3://BUCKET/PREFIX, file:///DIR or an absolute path", help);
    if text.starts_with("s3://") {
        let store = text.parse::<S3Location>().and_then(S3Location::into_store);
        return store.map(|_| text.to_owned()).map_err(|e| unfit(&format!("it {}", e.problem)));
    }
    if text.starts_with('/') || text.starts_with("file:///") {
        return Ok(text.to_owned());
    }
    Err(unfit(match text.contains("://") {
        true => "other addresses are not stores",
        false => {
            "a relative path depends on the directory in which the agent starts; a bucket needs s3:// before its name"
        }
    }))
}

fn queue(text: &str) -> Result<String, Unfit> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    if is_address { Ok(text.to_owned()) } else { Err(Unfit::bare("the address of an SQS queue")) }
}
