//! The keys below `logs`.

mod sources;
mod target;

use super::field::{Field, VALUES, fields, put};
use crate::appspec::diagnose::Findings;
use crate::logs::placeholders::{OF_DEPLOYMENT, OF_HOST};
use crate::logs::redact;
use crate::logs::settings::{GroupWish, LogGroupClass, LogSettings, Target};
use crate::values::{Unfit, absolute, boolean};
use crate::yaml::Node;
use target::{group_key, target_key};

/// Reads the section. `files` and `journal` add to earlier files; every other value replaces an earlier one.
pub(super) fn read(settings: &mut Option<LogSettings>, section: &Field<'_>, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    // `logs:` alone turns shipping on.
    if section.entry.value.is_null() {
        return;
    }
    let all = section.fields(findings);
    let mut wish = GroupWish::default();
    for field in &all {
        group_key(&mut wish, field, findings);
    }
    for field in &all {
        of_logs(settings, field, &wish, findings);
    }
    for target in settings.deployments.iter_mut().chain(&mut settings.agent) {
        if target.group == GroupWish::default() {
            target.group = wish.clone();
        }
    }
    if let Some(target) = settings.metrics.as_mut().filter(|target| target.group == GroupWish::default()) {
        target.group = GroupWish { log_group_class: None, ..wish };
    }
}

fn of_logs(settings: &mut LogSettings, field: &Field<'_>, wish: &GroupWish, findings: &mut Findings) {
    let usual = LogSettings::default();
    match field.name() {
        "deployments" => automatic(&mut settings.deployments, usual.deployments, field, OF_DEPLOYMENT, findings),
        "agent" => automatic(&mut settings.agent, usual.agent, field, OF_HOST, findings),
        "metrics" => metrics(&mut settings.metrics, field, findings),
        "files" => settings.files.extend(each(field, "files", findings, |item, fields, findings| {
            sources::file(item, fields, wish, findings)
        })),
        "journal" => {
            settings.journal.extend(each(field, "parts of the journal", findings, |item, fields, findings| {
                sources::journal(item, fields, wish, findings)
            }))
        }
        "redact" => settings.redact.extend(field.each(findings, pattern).unwrap_or_default()),
        "redact_values_from" => settings.redact_values_from.extend(field.each(findings, absolute).unwrap_or_default()),
        "awslogs_config" => settings.awslogs_config.extend(field.each(findings, absolute).unwrap_or_default()),
        "compress" => put(&mut settings.compress, field.boolean(findings)),
        "flush" => put(&mut settings.flush_seconds, field.duration(findings)),
        "deleted_bytes" => put(&mut settings.deleted_bytes, field.size(findings)),
        _ => {}
    }
}

fn pattern(text: &str) -> Result<String, Unfit> {
    redact::compile(text).map_err(|error| Unfit::new("a regular expression", error.to_string()))?;
    Ok(text.to_owned())
}

/// The entries of a list of sections.
fn each<T>(
    field: &Field<'_>,
    of: &str,
    findings: &mut Findings,
    mut take: impl FnMut(&Node, &[Field<'_>], &mut Findings) -> Option<T>,
) -> Vec<T> {
    let place = format!("{}[]", field.key.path);
    let mut found = Vec::new();
    for item in field.items(of, findings) {
        let name = format!("an entry of `{}`", field.name());
        let Some(entries) = VALUES.mapping_of(item, &name, item.at, findings) else { continue };
        let fields = fields(entries, &place, findings);
        found.extend(take(item, &fields, findings));
    }
    found
}

/// As for the other targets, but off by default, and in a group of the standard class: other classes do not extract
/// metrics.
fn metrics(target: &mut Option<Target>, field: &Field<'_>, findings: &mut Findings) {
    let usual = Target::new("/hostler/metrics", "{instance_id}");
    automatic(target, Some(usual), field, OF_HOST, findings);
    let class = target.as_ref().and_then(|target| target.group.log_group_class);
    if class.is_some_and(|class| class != LogGroupClass::Standard) {
        field.say("metrics are taken out of groups of the class STANDARD only".to_owned(), findings);
    }
}

/// `true`, `false`, or the names of a target, which is on then.
fn automatic(
    target: &mut Option<Target>,
    usual: Option<Target>,
    field: &Field<'_>,
    placeholders: &[&str],
    findings: &mut Findings,
) {
    if field.entry.value.as_mapping().is_none() {
        let expected = |_| Unfit::new("true, false or keys with values", "write its keys below it, indented");
        match field.read(findings, |text| boolean(text).map_err(expected)) {
            Some(true) if target.is_none() => *target = usual,
            Some(false) => *target = None,
            _ => {}
        }
        return;
    }
    if target.is_none() {
        *target = usual;
    }
    for field in field.fields(findings) {
        if let Some(given) = target {
            target_key(given, &field, placeholders, findings);
        }
    }
}
