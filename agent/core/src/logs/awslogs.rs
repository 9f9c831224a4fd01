//! The configuration file of the old awslogs agent (awscli-cwlogs 1.4.6, `AgentReference`): an INI file with one
//! section for each stream.

use std::collections::BTreeMap;

use super::placeholders;
use super::service::RETENTION_DAYS;
use super::settings::{DEFAULT_GATHER_MS, FileSettings, InitialPosition, LineRules, LogZone, Target, retention_list};

/// Keys about the inner workings of the old agent, without a meaning here.
const WITHOUT_MEANING: &[&str] = &[
    "state_file",
    "logging_config_file",
    "use_gzip_http_content_encoding",
    "queue_size",
    "batch_count",
    "batch_size",
    "file_fingerprint_lines",
];

/// The old agent's default pattern for the beginning of an event: a line that does not begin with white space.
const DEFAULT_START_PATTERN: &str = r"^[^\s]";

/// A mistake in a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct AwslogsError {
    /// Counted from 1.
    pub line: usize,
    /// The mistake and the remedy.
    pub message: String,
}

#[derive(Debug)]
struct Section {
    name: String,
    line: usize,
    keys: BTreeMap<String, (usize, String)>,
}

/// Reads the file: each section except `[general]` is a pattern of files.
///
/// # Errors
/// The first invalid line.
pub fn read(text: &str) -> Result<Vec<FileSettings>, AwslogsError> {
    let sections = sections(text)?;
    let defaults = sections.iter().find(|section| section.name == "DEFAULT").map(|section| &section.keys);
    let streams = sections.iter().filter(|section| !matches!(section.name.as_str(), "general" | "DEFAULT"));
    streams.map(|section| stream(section, defaults)).collect()
}

/// Like Python's RawConfigParser: `key = value` or `key: value`; lines that begin with white space continue the last
/// one.
fn sections(text: &str) -> Result<Vec<Section>, AwslogsError> {
    let mut sections: Vec<Section> = Vec::new();
    let mut last_key: Option<String> = None;
    for (number, raw) in text.lines().enumerate() {
        let line = number + 1;
        let trimmed = raw.trim();
        if trimmed.is_empty() || raw.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section { name: name.trim().to_owned(), line, keys: BTreeMap::new() });
            last_key = None;
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(AwslogsError { line, message: "there is no [section] above it".to_owned() });
        };
        if raw.starts_with([' ', '\t'])
            && let Some((_, value)) = last_key.as_ref().and_then(|key| section.keys.get_mut(key))
        {
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        let Some(at) = trimmed.find(['=', ':']) else {
            return Err(AwslogsError { line, message: format!("{trimmed:?} is neither [section] nor key = value") });
        };
        let key = trimmed[..at].trim().to_ascii_lowercase();
        let value = trimmed[at + 1..].trim();
        // A comment after a value needs white space before its semicolon.
        let value = value.split_once(" ;").map_or(value, |(value, _)| value.trim_end());
        section.keys.insert(key.clone(), (line, value.to_owned()));
        last_key = Some(key);
    }
    Ok(sections)
}

fn stream(
    section: &Section,
    defaults: Option<&BTreeMap<String, (usize, String)>>,
) -> Result<FileSettings, AwslogsError> {
    let mut keys = defaults.cloned().unwrap_or_default();
    keys.extend(section.keys.clone());
    let needed = |key: &str| {
        keys.get(key)
            .filter(|(_, value)| !value.is_empty())
            .cloned()
            .ok_or_else(|| AwslogsError { line: section.line, message: format!("[{}] has no {key}", section.name) })
    };
    let (file_line, file) = needed("file")?;
    if !file.starts_with('/') {
        return Err(AwslogsError { line: file_line, message: format!("file: {file:?} is not an absolute path") });
    }
    let (_, group) = needed("log_group_name")?;
    let (_, stream) = needed("log_stream_name")?;
    let mut settings = FileSettings::new(&file, Target::new(&group, &stream));
    settings.rules.multi_line_start_pattern = Some(DEFAULT_START_PATTERN.to_owned());
    for (key, (line, value)) in &keys {
        apply(&mut settings, key, value).map_err(|message| AwslogsError { line: *line, message })?;
    }
    for name in [&settings.target.log_group_name, &settings.target.log_stream_name] {
        if let Some(unknown) = placeholders::unknown(name, placeholders::OF_FILE) {
            let message = format!("[{}] has the placeholder {{{unknown}}}, which is not known", section.name);
            return Err(AwslogsError { line: section.line, message });
        }
    }
    let checked = settings.rules.compile(&jiff::tz::TimeZone::UTC);
    checked.map_err(|error| AwslogsError { line: section.line, message: format!("[{}] {error}", section.name) })?;
    Ok(settings)
}

fn apply(settings: &mut FileSettings, key: &str, value: &str) -> Result<(), String> {
    let rules: &mut LineRules = &mut settings.rules;
    match key {
        "file" | "log_group_name" | "log_stream_name" => {}
        "datetime_format" => rules.datetime_format = Some(value.to_owned()),
        "encoding" => rules.encoding = value.to_owned(),
        "multi_line_start_pattern" => rules.multi_line_start_pattern = Some(value.to_owned()),
        "time_zone" => {
            rules.time_zone = match value.to_ascii_uppercase().as_str() {
                "LOCAL" => LogZone::Local,
                "UTC" => LogZone::Utc,
                _ => return Err(format!("time_zone: {value:?} is neither LOCAL nor UTC")),
            }
        }
        "initial_position" => {
            settings.initial_position = match value {
                "start_of_file" => InitialPosition::StartOfFile,
                "end_of_file" => InitialPosition::EndOfFile,
                _ => return Err(format!("initial_position: {value:?} is neither start_of_file nor end_of_file")),
            }
        }
        "buffer_duration" => {
            let milliseconds: u64 = value.parse().map_err(|_| format!("buffer_duration: {value:?} is no number"))?;
            settings.gather_ms = milliseconds.clamp(DEFAULT_GATHER_MS, 60_000);
        }
        "retention_in_days" | "log_retention_in_days" => {
            let days = value.parse().ok().filter(|days| RETENTION_DAYS.contains(days));
            let wrong = || format!("{key}: {value:?} is not one of {}", retention_list());
            settings.target.group.retention_in_days = Some(days.ok_or_else(wrong)?);
        }
        key if WITHOUT_MEANING.contains(&key) => {}
        key => return Err(format!("the key {key} is not known")),
    }
    Ok(())
}
