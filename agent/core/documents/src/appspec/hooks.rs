//! `hooks`: events, scripts, and hostler's options for them.

use std::collections::HashMap;
use std::rc::Rc;

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::interpret::{place, required_text, text, unknown_key};
use super::keys;
use super::scalar::{Resolved, leading_integer, resolve};
use super::spec::{AppSpec, EventHooks, HookOptions, HookScript};
use crate::values::{YEAR_SECONDS, duration, nearest};
use crate::yaml::{Entry, Mapping, Node, Value};

/// The default `timeout` of a script in seconds, and CodeDeploy's documented limit for the sum of one event.
pub(super) const HOUR: u64 = 3600;

/// The blanks that Ruby's `strip` removes.
const BLANKS: [char; 7] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r', '\0'];

pub(super) fn hooks(top: &Mapping, findings: &mut Findings) -> Vec<EventHooks> {
    let Some(entry) = top.get("hooks") else { return Vec::new() };
    match &entry.value.value {
        Value::Mapping(events) => {
            events.entries().iter().filter_map(|event| event_hooks(event, events, findings)).collect()
        }
        Value::Scalar(scalar) if matches!(resolve(scalar), Resolved::Null | Resolved::Bool(false)) => Vec::new(),
        Value::Scalar(_) | Value::Sequence(_) => {
            let message = format!("`hooks` is {}, not a mapping of events", entry.value.kind());
            findings
                .add(Code::WrongType, Some(entry.key_at), message)
                .help("write the name of an event and a colon, and its scripts as a list below it");
            Vec::new()
        }
    }
}

/// The scripts of an event. Findings in an event that does not exist or has no scripts are harmless: no deployment runs
/// it.
fn event_hooks(entry: &Entry, beside: &Mapping, findings: &mut Findings) -> Option<EventHooks> {
    event_name(entry, beside, findings);
    let event = entry.key.text.clone();
    let (scripts, unusable) = if keys::EVENTS.contains(&event.as_str()) {
        (scripts(entry, findings), false)
    } else {
        findings.harmless(|findings| scripts(entry, findings))
    };
    let scripts = scripts.or_else(|| unusable.then(Vec::new))?;
    Some(EventHooks { event, scripts, unusable, at: entry.key_at })
}

fn scripts(entry: &Entry, findings: &mut Findings) -> Option<Vec<HookScript>> {
    match &entry.value.value {
        Value::Sequence(items) => Some(items.iter().filter_map(|item| script(item, findings)).collect()),
        Value::Mapping(mapping) if mapping.entries().is_empty() => None,
        Value::Scalar(scalar) if matches!(resolve(scalar), Resolved::Null | Resolved::Bool(false)) => None,
        Value::Scalar(_) | Value::Mapping(_) => {
            let message = format!("{} is {}, not a list of scripts", quoted(&entry.key.text), entry.value.kind());
            let glued =
                entry.value.as_mapping().is_some_and(|m| m.entries().iter().any(|e| e.key.text.starts_with('-')));
            let help = if glued {
                "write a space after the dash: `- location: …`"
            } else {
                "begin each script with `- location: …`"
            };
            findings.add(Code::WrongType, Some(entry.key_at), message).help(help);
            None
        }
    }
}

fn event_name(entry: &Entry, beside: &Mapping, findings: &mut Findings) {
    let event = entry.key.text.as_str();
    if keys::EVENTS.contains(&event) {
        return;
    }
    if keys::EVENTS_WITHOUT_HOOKS.contains(&event) {
        let message = format!("{event} runs no scripts; these never run");
        findings
            .add(Code::EventHasNoHooks, Some(entry.key_at), message)
            .help("use the event before or after it, such as BeforeInstall or AfterInstall");
        return;
    }
    if let Some(meant) = findings.misspelt(event, beside, keys::EVENTS) {
        let message = format!("{} is not a lifecycle event, and looks like `{meant}`", quoted(event));
        findings.add(Code::MisspeltEvent, Some(entry.key_at), message).help(format!("write `{meant}`"));
        return;
    }
    let message = format!(
        "{} is not a lifecycle event: its scripts run only if a deployment of CodeDeploy names it",
        quoted(event)
    );
    let found = findings.add(Code::UnknownEvent, Some(entry.key_at), message);
    match nearest(event, keys::EVENTS) {
        Some(near) => found.help(format!("did you mean `{near}`?")),
        None => found.help(format!("the events are {}", keys::EVENTS.join(", "))),
    };
}

fn script(node: &Rc<Node>, findings: &mut Findings) -> Option<HookScript> {
    let Some(mapping) = node.as_mapping() else {
        let message = format!("a script is {}, not a mapping", node.kind());
        findings.add(Code::WrongType, Some(node.at), message).help("write `- location: …`, a space after the colon");
        return None;
    };
    for entry in mapping.entries() {
        unknown_key(entry, mapping, keys::SCRIPT, "a script", findings);
    }
    let location = required_text(mapping, node, "location", Code::MissingLocation, findings);
    let timeout_seconds = timeout(mapping, findings);
    let runas = runas(mapping, findings);
    let sudo = sudo(mapping, findings);
    let (location, at) = location?;
    let location = location.trim_matches(BLANKS).to_owned();
    if location.is_empty() {
        findings
            .add(Code::MissingLocation, Some(at), "`location` is empty")
            .help("write the path of the script in the bundle");
        return None;
    }
    let runas_at = mapping.get("runas").map(place);
    let timeout_line = mapping.get("timeout").filter(|entry| !entry.value.is_null()).map(|entry| entry.key_at.line);
    let (timeout_seconds, options) = (timeout_seconds?, HookOptions::default());
    Some(HookScript { location, timeout_seconds, timeout_line, runas, sudo, options, at, runas_at })
}

/// The incumbent's reading of the value, and a warning if it differs from the text.
fn timeout(mapping: &Mapping, findings: &mut Findings) -> Option<u64> {
    let Some(entry) = mapping.get("timeout") else { return Some(HOUR) };
    let scalar = entry.value.as_scalar();
    let seconds = match scalar.map(resolve) {
        Some(Resolved::Null | Resolved::Bool(false)) => return Some(HOUR),
        Some(Resolved::Integer(seconds)) => seconds,
        #[allow(clippy::cast_possible_truncation, reason = "it saturates, and turns not-a-number into 0")]
        Some(Resolved::Float(seconds)) if !seconds.is_infinite() => seconds as i64,
        Some(Resolved::Text) => scalar.map_or(0, |scalar| leading_integer(&scalar.text)),
        Some(Resolved::Bool(true) | Resolved::Float(_)) | None => 0,
    };
    let written = scalar.map_or_else(|| entry.value.kind().to_owned(), |scalar| quoted(&scalar.text));
    let Some(seconds) = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0) else {
        let message = format!("`timeout` is {written}, not a number of seconds above 0");
        findings
            .add(Code::InvalidTimeout, Some(place(entry)), message)
            .help("write whole seconds, such as `timeout: 300`");
        return None;
    };
    // A deadline beyond a century would overflow clocks and is of no use.
    let seconds = seconds.min(u64::from(u32::MAX));
    if scalar.is_none_or(|scalar| scalar.text.trim() != seconds.to_string()) {
        let message = format!("the timeout {written} is read as {seconds} seconds, as the CodeDeploy agent does");
        // `5m` is five seconds for the CodeDeploy agent, and five minutes in hostler's own keys.
        let meant = scalar.and_then(|scalar| duration(&scalar.text, &(1..=YEAR_SECONDS)).ok());
        let meant = meant.filter(|meant| *meant != seconds);
        let or = meant.map_or_else(String::new, |meant| format!(", or `timeout: {meant}` for {written}"));
        findings
            .add(Code::AmbiguousTimeout, Some(place(entry)), message)
            .help(format!("write `timeout: {seconds}` if that is meant{or}"));
    }
    if seconds > HOUR {
        let message = format!("a timeout of {seconds} seconds is above one hour");
        findings
            .add(Code::LongTimeout, Some(place(entry)), message)
            .help("CodeDeploy documents 3600 seconds as the most for all scripts of one event");
    }
    Some(seconds)
}

fn runas(mapping: &Mapping, findings: &mut Findings) -> Option<String> {
    let entry = mapping.get("runas").filter(|entry| !entry.value.is_null())?;
    let user = text(entry, findings)?.trim_matches(BLANKS).to_owned();
    if user.is_empty() {
        findings
            .add(
                Code::UnlikelyUser,
                Some(place(entry)),
                "`runas` is empty: the script runs as the agent's user, which is root",
            )
            .help("name a user, or remove the key");
        return None;
    }
    let is_name = user.chars().all(|c| c.is_alphanumeric() || "._-$@\\".contains(c)) && !user.starts_with('-');
    if !is_name || user.chars().all(|c| c.is_ascii_digit()) {
        let message = format!("`runas` is {}, which is not a user name", quoted(&user));
        findings
            .add(Code::UnlikelyUser, Some(entry.value.at), message)
            .help("write a user name alone; commands and numeric ids are not understood");
    }
    Some(user)
}

fn sudo(mapping: &Mapping, findings: &mut Findings) -> bool {
    let Some(entry) = mapping.get("sudo") else { return false };
    match entry.value.as_scalar().map(resolve) {
        Some(Resolved::Null | Resolved::Bool(false)) => false,
        Some(Resolved::Bool(true)) => true,
        Some(Resolved::Integer(_) | Resolved::Float(_) | Resolved::Text) | None => {
            let message = "`sudo` counts as true, as everything but a bare false or no does";
            findings
                .add(Code::AmbiguousSudo, Some(place(entry)), message)
                .help("write `sudo: true` or `sudo: false`, without quotes");
            true
        }
    }
}

/// Gives each script its options from `hostler.hooks`.
pub(super) fn resolve_options(spec: &mut AppSpec, findings: &mut Findings) {
    let mut scripts: HashMap<(String, Vec<String>), Vec<&mut HookScript>> = HashMap::new();
    for hooks in &mut spec.hooks {
        for script in &mut hooks.scripts {
            scripts.entry((hooks.event.clone(), plain_path(&script.location))).or_default().push(script);
        }
    }
    for entry in &spec.extension.hooks {
        match scripts.get_mut(&(entry.event.clone(), plain_path(&entry.location))) {
            Some(scripts) => scripts.iter_mut().for_each(|script| script.options = entry.options.clone()),
            None => {
                let message = format!("no script {} in `hooks` of {}", quoted(&entry.location), quoted(&entry.event));
                findings
                    .add(Code::OptionsWithoutHook, Some(entry.at), message)
                    .help("write the event and the location as below `hooks:`");
            }
        }
    }
    for script in spec.hooks.iter_mut().flat_map(|hooks| &mut hooks.scripts) {
        // A script's own value takes precedence.
        let own = &mut script.options.environment;
        let others = spec.extension.environment.iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name));
        let others: Vec<(String, String)> = others.cloned().collect();
        own.extend(others);
    }
}

/// The components of a path: `./a.sh`, `/a.sh` and `a.sh` are one script.
fn plain_path(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}
