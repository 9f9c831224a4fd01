//! The keys below `logs`.

use jiff::tz::TimeZone;

use super::{
    Entry, Findings, Mapping, Node, flag, invalid, known, mapping, not_one_of, parsed, quoted, seconds, set, text,
    wrong_type,
};
use crate::appspec::codes::Code;
use crate::logs::placeholders::{OF_DEPLOYMENT, OF_FILE, OF_HOST, unknown};
use crate::logs::redact;
use crate::logs::service::RETENTION_DAYS;
use crate::logs::settings::{
    DEFAULT_GATHER_MS, FileSettings, GroupWish, InitialPosition, JournalSettings, LogGroupClass, LogSettings, LogZone,
    Target, retention_list,
};

/// Keys below `logs`.
const LOGS: &[&str] = &[
    "deployments",
    "agent",
    "metrics",
    "files",
    "journal",
    "redact",
    "redact_values_from",
    "awslogs_config",
    "compress",
    "flush",
    "deleted_bytes",
    "retention_in_days",
    "log_group_class",
    "tags",
];
/// Keys of every entry that names a group and a stream.
const TARGET: &[&str] = &["log_group_name", "log_stream_name", "retention_in_days", "log_group_class", "tags"];
/// Keys of an entry of `files`, besides those of a target.
const FILE: &[&str] = &[
    "file",
    "exclude",
    "datetime_format",
    "time_zone",
    "multi_line_start_pattern",
    "encoding",
    "initial_position",
    "buffer_duration",
];
/// Keys of an entry of `journal`, besides those of a target.
const JOURNAL: &[&str] = &["units", "priority", "matches", "initial_position", "buffer_duration"];
/// The names of the journal's priorities; their numbers are valid too.
const PRIORITIES: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Reads the section. `files` and `journal` add to earlier files; every other value replaces an earlier one.
pub(super) fn read(settings: &mut Option<LogSettings>, node: &Node, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    // `logs:` alone turns shipping on.
    if node.is_null() {
        return;
    }
    let Some(entries) = mapping(node, "logs", findings) else { return };
    let entries = known(entries, LOGS, "logs", findings);
    let mut wish = GroupWish::default();
    for entry in &entries {
        group_key(&mut wish, entry, findings);
    }
    for entry in &entries {
        match entry.key.text.as_str() {
            "deployments" => automatic(&mut settings.deployments, entry, OF_DEPLOYMENT, findings),
            "agent" => automatic(&mut settings.agent, entry, OF_HOST, findings),
            "metrics" => metrics(&mut settings.metrics, entry, findings),
            "files" => each(entry, findings, |item, entries, findings| {
                settings.files.extend(file(item, entries, &wish, findings));
            }),
            "journal" => each(entry, findings, |item, entries, findings| {
                settings.journal.extend(journal(item, entries, &wish, findings));
            }),
            "redact" => settings.redact.extend(patterns(entry, findings)),
            "redact_values_from" => settings.redact_values_from.extend(paths(entry, findings)),
            "awslogs_config" => settings.awslogs_config.extend(paths(entry, findings)),
            "compress" => flag(&mut settings.compress, entry, findings),
            "flush" => settings.flush_seconds = seconds(entry, findings).unwrap_or(settings.flush_seconds),
            "deleted_bytes" => settings.deleted_bytes = parsed(entry, findings).unwrap_or(settings.deleted_bytes),
            _ => {}
        }
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

/// As for the other targets, but off by default, and in a group of the standard class: other classes do not extract
/// metrics.
fn metrics(target: &mut Option<Target>, entry: &Entry, findings: &mut Findings) {
    if entry.value.as_scalar().is_some_and(|scalar| scalar.text == "true") {
        target.get_or_insert_with(|| Target::new("/hostler/metrics", "{instance_id}"));
        return;
    }
    automatic(target, entry, OF_HOST, findings);
    if target.as_ref().is_some_and(|t| t.group.log_group_class.is_some_and(|class| class != LogGroupClass::Standard)) {
        invalid(entry, "metrics are taken out of groups of the class STANDARD only".to_owned(), findings);
    }
}

fn each(entry: &Entry, findings: &mut Findings, mut take: impl FnMut(&Node, &Mapping, &mut Findings)) {
    let name = &entry.key.text;
    let Some(list) = entry.value.as_sequence() else { return wrong_type(&entry.value, name, "a list", findings) };
    for item in list {
        if let Some(entries) = mapping(item, &format!("an entry of {name}"), findings) {
            take(item, entries, findings);
        }
    }
}

/// `false`, or a target.
fn automatic(target: &mut Option<Target>, entry: &Entry, placeholders: &[&str], findings: &mut Findings) {
    if let Some(scalar) = entry.value.as_scalar() {
        match scalar.text.as_str() {
            "false" => *target = None,
            "true" => {}
            other => invalid(entry, format!("{} is neither false nor keys with values", quoted(other)), findings),
        }
        return;
    }
    let Some(entries) = mapping(&entry.value, &entry.key.text, findings) else { return };
    known(entries, TARGET, &entry.key.text, findings);
    let given = target.get_or_insert_with(|| Target::new("", ""));
    target_keys(given, entries, placeholders, findings);
}

fn file(item: &Node, entries: &Mapping, wish: &GroupWish, findings: &mut Findings) -> Option<FileSettings> {
    known(entries, &[TARGET, FILE].concat(), "logs: files", findings);
    let path = needed(item, entries, "file", findings)?;
    if !path.starts_with('/') {
        let message = format!("file: {} is not an absolute path", quoted(&path));
        findings.add(Code::InvalidConfiguration, Some(item.at), message);
        return None;
    }
    let mut settings = FileSettings::new(&path, target(item, entries, wish, OF_FILE, findings)?);
    for entry in entries.entries() {
        let rules = &mut settings.rules;
        match entry.key.text.as_str() {
            "exclude" => settings.exclude = texts(entry, findings),
            "datetime_format" => rules.datetime_format = text(entry, findings).map(str::to_owned),
            "multi_line_start_pattern" => rules.multi_line_start_pattern = text(entry, findings).map(str::to_owned),
            "encoding" => rules.encoding = text(entry, findings).unwrap_or_default().to_owned(),
            "time_zone" => rules.time_zone = zone(entry, findings).unwrap_or_default(),
            "initial_position" => settings.initial_position = position(entry, findings).unwrap_or_default(),
            "buffer_duration" => settings.gather_ms = gather(entry, findings),
            _ => {}
        }
    }
    if let Err(error) = settings.rules.compile(&TimeZone::UTC) {
        findings.add(Code::InvalidConfiguration, Some(item.at), error.to_string());
    }
    Some(settings)
}

fn journal(item: &Node, entries: &Mapping, wish: &GroupWish, findings: &mut Findings) -> Option<JournalSettings> {
    known(entries, &[TARGET, JOURNAL].concat(), "logs: journal", findings);
    let mut settings = JournalSettings {
        units: Vec::new(),
        priority: None,
        matches: Vec::new(),
        target: target(item, entries, wish, OF_HOST, findings)?,
        initial_position: InitialPosition::default(),
        gather_ms: DEFAULT_GATHER_MS,
    };
    for entry in entries.entries() {
        match entry.key.text.as_str() {
            "units" => settings.units = texts(entry, findings),
            "matches" => settings.matches = matches(entry, findings),
            "priority" => settings.priority = priority(entry, findings),
            "initial_position" => settings.initial_position = position(entry, findings).unwrap_or_default(),
            "buffer_duration" => settings.gather_ms = gather(entry, findings),
            _ => {}
        }
    }
    Some(settings)
}

fn target(
    item: &Node,
    entries: &Mapping,
    wish: &GroupWish,
    placeholders: &[&str],
    findings: &mut Findings,
) -> Option<Target> {
    let group = needed(item, entries, "log_group_name", findings);
    let stream = entries.get("log_stream_name").map_or(Some("{instance_id}"), |entry| text(entry, findings));
    let mut target = Target::new(&group?, stream?);
    target.group = wish.clone();
    target_keys(&mut target, entries, placeholders, findings);
    Some(target)
}

fn target_keys(target: &mut Target, entries: &Mapping, placeholders: &[&str], findings: &mut Findings) {
    for entry in entries.entries() {
        match entry.key.text.as_str() {
            "log_group_name" => name(&mut target.log_group_name, entry, placeholders, findings),
            "log_stream_name" => name(&mut target.log_stream_name, entry, placeholders, findings),
            _ => group_key(&mut target.group, entry, findings),
        }
    }
}

fn name(target: &mut String, entry: &Entry, placeholders: &[&str], findings: &mut Findings) {
    let Some(template) = text(entry, findings) else { return };
    match unknown(template, placeholders) {
        Some(other) => {
            let known = placeholders.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
            let message = format!("{}: the placeholder {{{other}}} is not known here", entry.key.text);
            findings
                .add(Code::InvalidConfiguration, Some(entry.value.at), message)
                .help(format!("the placeholders are {known}"));
        }
        None if template.is_empty() => invalid(entry, "a name is not empty".to_owned(), findings),
        None => template.clone_into(target),
    }
}

fn group_key(wish: &mut GroupWish, entry: &Entry, findings: &mut Findings) {
    match entry.key.text.as_str() {
        "retention_in_days" => {
            let days = parsed::<u32>(entry, findings);
            match days.filter(|days| RETENTION_DAYS.contains(days)) {
                Some(days) => wish.retention_in_days = Some(days),
                None if days.is_some() => invalid(entry, format!("must be one of {}", retention_list()), findings),
                None => {}
            }
        }
        "log_group_class" => {
            let Some(class) = text(entry, findings) else { return };
            match LogGroupClass::named(class) {
                Some(class) => wish.log_group_class = Some(class),
                None => not_one_of(entry, class, &["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"], findings),
            }
        }
        "tags" => {
            let Some(tags) = mapping(&entry.value, "tags", findings) else { return };
            let tag = |entry: &Entry, findings: &mut Findings| {
                Some((entry.key.text.clone(), text(entry, findings)?.to_owned()))
            };
            wish.tags = tags.entries().iter().filter_map(|entry| tag(entry, findings)).collect();
        }
        _ => {}
    }
}

fn needed(item: &Node, entries: &Mapping, key: &str, findings: &mut Findings) -> Option<String> {
    let Some(entry) = entries.get(key) else {
        findings.add(Code::InvalidConfiguration, Some(item.at), format!("`{key}:` is missing in this entry"));
        return None;
    };
    text(entry, findings).map(str::to_owned)
}

fn texts(entry: &Entry, findings: &mut Findings) -> Vec<String> {
    if entry.value.as_scalar().is_some() {
        return text(entry, findings).map(str::to_owned).into_iter().collect();
    }
    let Some(list) = entry.value.as_sequence() else {
        wrong_type(&entry.value, &entry.key.text, "a list", findings);
        return Vec::new();
    };
    let mut found = Vec::new();
    for node in list {
        match node.as_scalar() {
            Some(scalar) => found.push(scalar.text.clone()),
            None => wrong_type(node, &entry.key.text, "a list of texts", findings),
        }
    }
    found
}

fn patterns(entry: &Entry, findings: &mut Findings) -> Vec<String> {
    let patterns = texts(entry, findings);
    for pattern in &patterns {
        if let Err(error) = redact::compile(pattern) {
            invalid(entry, error.to_string(), findings);
        }
    }
    patterns
}

fn paths(entry: &Entry, findings: &mut Findings) -> Vec<std::path::PathBuf> {
    let paths = texts(entry, findings);
    for path in paths.iter().filter(|path| !path.starts_with('/')) {
        invalid(entry, format!("{} is not an absolute path", quoted(path)), findings);
    }
    paths.into_iter().map(Into::into).collect()
}

fn matches(entry: &Entry, findings: &mut Findings) -> Vec<String> {
    let matches = texts(entry, findings);
    // A text that begins with a dash would be an option of journalctl.
    let is_field = |text: &str| {
        text.split_once('=').is_some_and(|(field, _)| {
            !field.is_empty() && field.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
    };
    for wrong in matches.iter().filter(|text| !is_field(text)) {
        let message = format!("{} is no match; write FIELD=value, for example SYSLOG_IDENTIFIER=sudo", quoted(wrong));
        invalid(entry, message, findings);
    }
    matches
}

fn priority(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let given = text(entry, findings)?;
    let good = PRIORITIES.contains(&given) || given.parse::<u8>().is_ok_and(|number| number < 8);
    if !good {
        not_one_of(entry, given, PRIORITIES, findings);
    }
    good.then(|| given.to_owned())
}

fn zone(entry: &Entry, findings: &mut Findings) -> Option<LogZone> {
    match text(entry, findings)? {
        "LOCAL" => Some(LogZone::Local),
        "UTC" => Some(LogZone::Utc),
        other => {
            invalid(entry, format!("{} is neither LOCAL nor UTC", quoted(other)), findings);
            None
        }
    }
}

fn position(entry: &Entry, findings: &mut Findings) -> Option<InitialPosition> {
    match text(entry, findings)? {
        "start_of_file" => Some(InitialPosition::StartOfFile),
        "end_of_file" => Some(InitialPosition::EndOfFile),
        other => {
            invalid(entry, format!("{} is neither start_of_file nor end_of_file", quoted(other)), findings);
            None
        }
    }
}

/// Milliseconds, as in the awslogs agent.
fn gather(entry: &Entry, findings: &mut Findings) -> u64 {
    let mut milliseconds = None;
    set(&mut milliseconds, parsed::<u64>(entry, findings));
    match milliseconds {
        Some(given) if (100..=60_000).contains(&given) => given,
        Some(_) => {
            invalid(entry, "must be 100 to 60000 milliseconds".to_owned(), findings);
            DEFAULT_GATHER_MS
        }
        None => DEFAULT_GATHER_MS,
    }
}
