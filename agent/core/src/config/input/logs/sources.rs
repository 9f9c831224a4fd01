//! The entries of `files` and `journal`.

use jiff::tz::TimeZone;

use super::super::field::{Field, put, set};
use super::target::target_key;
use crate::appspec::codes::Code;
use crate::appspec::diagnose::Findings;
use crate::config::keys::PRIORITIES;
use crate::logs::placeholders::{OF_FILE, OF_HOST};
use crate::logs::settings::{
    DEFAULT_GATHER_MS, FileSettings, GroupWish, InitialPosition, JournalSettings, LogZone, Target,
};
use crate::values::{Unfit, absolute, not_a_word};
use crate::yaml::Node;

const ZONES: &[(&str, LogZone)] = &[("LOCAL", LogZone::Local), ("UTC", LogZone::Utc)];
const POSITIONS: &[(&str, InitialPosition)] =
    &[("start_of_file", InitialPosition::StartOfFile), ("end_of_file", InitialPosition::EndOfFile)];

pub(super) fn file(
    item: &Node,
    fields: &[Field<'_>],
    wish: &GroupWish,
    findings: &mut Findings,
) -> Option<FileSettings> {
    let path = needed(item, fields, "file", findings)?.read(findings, |text| absolute(text).map(|_| text.to_owned()));
    let mut settings = FileSettings::new(&path?, target(item, fields, wish, OF_FILE, findings)?);
    for field in fields {
        let rules = &mut settings.rules;
        match field.name() {
            "exclude" => put(&mut settings.exclude, field.texts(findings)),
            "datetime_format" => set(&mut rules.datetime_format, field.owned(findings)),
            "multi_line_start_pattern" => set(&mut rules.multi_line_start_pattern, field.owned(findings)),
            "encoding" => put(&mut rules.encoding, field.owned(findings)),
            "time_zone" => put(&mut rules.time_zone, field.word(ZONES, findings)),
            "initial_position" => put(&mut settings.initial_position, field.word(POSITIONS, findings)),
            "buffer_duration" => put(&mut settings.gather_ms, field.milliseconds(findings)),
            _ => {}
        }
    }
    if let Err(error) = settings.rules.compile(&TimeZone::UTC) {
        findings.add(Code::InvalidConfiguration, Some(item.at), error.to_string());
    }
    Some(settings)
}

pub(super) fn journal(
    item: &Node,
    fields: &[Field<'_>],
    wish: &GroupWish,
    findings: &mut Findings,
) -> Option<JournalSettings> {
    let mut settings = JournalSettings {
        units: Vec::new(),
        priority: None,
        matches: Vec::new(),
        target: target(item, fields, wish, OF_HOST, findings)?,
        initial_position: InitialPosition::default(),
        gather_ms: DEFAULT_GATHER_MS,
    };
    for field in fields {
        match field.name() {
            "units" => put(&mut settings.units, field.texts(findings)),
            "matches" => put(&mut settings.matches, field.each(findings, field_match)),
            "priority" => set(&mut settings.priority, field.read(findings, priority)),
            "initial_position" => put(&mut settings.initial_position, field.word(POSITIONS, findings)),
            "buffer_duration" => put(&mut settings.gather_ms, field.milliseconds(findings)),
            _ => {}
        }
    }
    Some(settings)
}

fn target(
    item: &Node,
    fields: &[Field<'_>],
    wish: &GroupWish,
    placeholders: &[&str],
    findings: &mut Findings,
) -> Option<Target> {
    needed(item, fields, "log_group_name", findings)?;
    let mut target = Target::new("", "{instance_id}");
    target.group = wish.clone();
    for field in fields {
        target_key(&mut target, field, placeholders, findings);
    }
    Some(target)
}

/// A key that every entry has.
fn needed<'f, 'n>(item: &Node, fields: &'f [Field<'n>], key: &str, findings: &mut Findings) -> Option<&'f Field<'n>> {
    let found = fields.iter().find(|field| field.name() == key);
    if found.is_none() {
        findings.add(Code::InvalidConfiguration, Some(item.at), format!("`{key}:` is missing in this entry"));
    }
    found
}

/// `FIELD=value`. A text that begins with a dash would be an option of journalctl.
fn field_match(text: &str) -> Result<String, Unfit> {
    let is_field = text.split_once('=').is_some_and(|(field, _)| {
        !field.is_empty() && field.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    let help = "for example SYSLOG_IDENTIFIER=sudo";
    if is_field { Ok(text.to_owned()) } else { Err(Unfit::new("a match FIELD=value", help)) }
}

fn priority(text: &str) -> Result<String, Unfit> {
    let good = PRIORITIES.contains(&text) || text.parse::<u8>().is_ok_and(|number| number < 8);
    if good { Ok(text.to_owned()) } else { Err(not_a_word(text, PRIORITIES)) }
}
