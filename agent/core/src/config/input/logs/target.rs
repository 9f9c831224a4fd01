//! The keys of everything that has a log group and a stream.

use super::super::field::{Field, VALUES, put, set};
use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Findings, quoted};
use crate::logs::placeholders::unknown;
use crate::logs::service::RETENTION_DAYS;
use crate::logs::settings::{GroupWish, LogGroupClass, Target, retention_list};
use crate::values::{Unfit, not_a_word, whole};

/// The names of the classes.
const CLASSES: &[&str] = &["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"];

/// Reads a key of a target; every other key is left alone.
pub(super) fn target_key(target: &mut Target, field: &Field<'_>, placeholders: &[&str], findings: &mut Findings) {
    match field.name() {
        "log_group_name" => put(&mut target.log_group_name, name(field, placeholders, findings)),
        "log_stream_name" => put(&mut target.log_stream_name, name(field, placeholders, findings)),
        _ => group_key(&mut target.group, field, findings),
    }
}

/// Reads a key of a new group; every other key is left alone.
pub(super) fn group_key(wish: &mut GroupWish, field: &Field<'_>, findings: &mut Findings) {
    match field.name() {
        "retention_in_days" => set(&mut wish.retention_in_days, field.read(findings, days)),
        "log_group_class" => set(&mut wish.log_group_class, field.read(findings, class)),
        "tags" => put(&mut wish.tags, tags(field, findings)),
        _ => {}
    }
}

fn days(text: &str) -> Result<u32, Unfit> {
    let days = whole(text, &(0..=u64::from(u32::MAX))).ok().and_then(|days| u32::try_from(days).ok());
    let days = days.filter(|days| RETENTION_DAYS.contains(days));
    days.ok_or_else(|| Unfit::bare(format!("one of {}", retention_list())))
}

fn class(text: &str) -> Result<LogGroupClass, Unfit> {
    LogGroupClass::named(text).ok_or_else(|| not_a_word(text, CLASSES))
}

fn tags(field: &Field<'_>, findings: &mut Findings) -> Option<Vec<(String, String)>> {
    let mapping = VALUES.mapping(field.entry, findings)?;
    let mut tags = Vec::new();
    for entry in mapping.entries() {
        let Some(value) = VALUES.text(entry, findings) else { continue };
        tags.push((entry.key.text.clone(), value.to_owned()));
    }
    Some(tags)
}

/// The name of a group or a stream.
fn name(field: &Field<'_>, placeholders: &[&str], findings: &mut Findings) -> Option<String> {
    let template = field.text(findings)?;
    if template.is_empty() {
        field.say(format!("{} must not be empty", quoted(field.name())), findings);
        return None;
    }
    let Some(other) = unknown(template, placeholders) else { return Some(template.to_owned()) };
    let known = placeholders.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
    let message = format!("{}: the placeholder {{{other}}} is not known here", field.name());
    findings
        .add(Code::InvalidConfiguration, Some(field.entry.value.at), message)
        .help(format!("the placeholders are {known}"));
    None
}
