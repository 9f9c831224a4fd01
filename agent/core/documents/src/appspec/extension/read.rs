//! The sections below `hostler:`.

use std::collections::HashSet;

use super::super::codes::Code;
use super::super::diagnose::{Findings, quoted};
use super::super::keys;
use super::health::Scripts;
use super::{
    COUNT, DURATION, Extension, HookEntry, HookOptions, Secret, SecretReference, Traffic, TrafficMethod, VALUES,
};
use crate::yaml::{Entry, Mapping, Position};

pub(in super::super) fn read(entry: &Entry, findings: &mut Findings) -> Extension {
    let mut extension = Extension::default();
    let Some(mapping) = section(entry, keys::EXTENSION, findings) else { return extension };
    if let Some(install) = mapping.get("install").and_then(|entry| section(entry, keys::INSTALL, findings)) {
        extension.recheck_after_before_install = recheck_after(install, findings);
    }
    extension.environment = environment(mapping, findings);
    extension.secrets = secrets(mapping, findings);
    without_effect(mapping, "secrets", "let the script read the secret itself", findings);
    without_effect(mapping, "traffic", "set `traffic` of the group in the host's configuration", findings);
    extension.hooks = hooks(mapping, &extension.secrets, findings);
    extension.health = super::health(mapping, Scripts::OfBundle, findings);
    extension.bake_seconds = seconds(mapping, "bake_time", findings);
    if let Some(traffic) = mapping.get("traffic").and_then(|entry| section(entry, keys::TRAFFIC, findings)) {
        extension.traffic = self::traffic(traffic, findings);
    }
    extension
}

/// The keys and values of an entry; `None` without a finding if nothing is written there.
pub(super) fn open_section<'e>(entry: &'e Entry, findings: &mut Findings) -> Option<&'e Mapping> {
    if entry.value.is_null() { None } else { VALUES.mapping(entry, findings) }
}

/// As [`open_section`], with the keys checked.
pub(super) fn section<'e>(entry: &'e Entry, keys: &[&str], findings: &mut Findings) -> Option<&'e Mapping> {
    let mapping = open_section(entry, findings)?;
    VALUES.known(mapping, keys, &quoted(&entry.key.text), findings);
    Some(mapping)
}

/// The text of a key.
pub(super) fn text(parent: &Mapping, key: &str, findings: &mut Findings) -> Option<String> {
    VALUES.text(parent.get(key)?, findings).map(str::to_owned)
}

/// The duration of a key, in seconds.
pub(super) fn seconds(parent: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    VALUES.duration(parent.get(key)?, &DURATION, findings)
}

/// The number of a key, above 0.
pub(super) fn count(parent: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    VALUES.whole(parent.get(key)?, &COUNT, findings)
}

/// The texts of a key; none if nothing is written there.
fn texts(parent: &Mapping, key: &str, findings: &mut Findings) -> Vec<(String, Position)> {
    let Some(entry) = parent.get(key).filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let found = VALUES.texts(entry, findings).unwrap_or_default();
    found.into_iter().map(|(text, at)| (text.to_owned(), at)).collect()
}

/// Warns of a key that has a meaning but no effect yet.
fn without_effect(parent: &Mapping, key: &str, instead: &'static str, findings: &mut Findings) {
    if let Some(entry) = parent.get(key) {
        let message = format!("`{key}` has no effect in this version of hostler");
        // Its line may hold a secret.
        findings.add(Code::WithoutEffect, Some(entry.key_at), message).help(instead).conceal();
    }
}

fn recheck_after(install: &Mapping, findings: &mut Findings) -> bool {
    // The only event after which the host can be checked again.
    let words = &[("BeforeInstall", true)];
    install.get("recheck_after").and_then(|entry| VALUES.word(entry, words, findings)).unwrap_or_default()
}

/// Names that a shell can use.
fn is_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn variable(entry: &Entry, findings: &mut Findings) {
    if !is_variable(&entry.key.text) {
        let message = format!("{} is not the name of an environment variable", quoted(&entry.key.text));
        findings
            .add(Code::InvalidExtension, Some(entry.key_at), message)
            .help("use letters, digits and underscores, a letter first")
            .conceal();
    }
}

fn environment(parent: &Mapping, findings: &mut Findings) -> Vec<(String, String)> {
    let Some(mapping) = parent.get("environment").and_then(|entry| open_section(entry, findings)) else {
        return Vec::new();
    };
    let mut variables = Vec::new();
    for entry in mapping.entries() {
        variable(entry, findings);
        let Some(value) = VALUES.text(entry, findings) else { continue };
        if value.contains('\0') {
            let message = format!("the value of {} holds a zero byte", quoted(&entry.key.text));
            findings
                .add(Code::InvalidExtension, Some(entry.key_at), message)
                .help("no environment variable can hold one")
                .conceal();
        }
        plain_secret(entry, value, findings);
        variables.push((entry.key.text.clone(), value.to_owned()));
    }
    variables
}

fn plain_secret(entry: &Entry, value: &str, findings: &mut Findings) {
    const WORDS: &[&str] = &[
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "APIKEY",
        "API_KEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
        "CREDENTIAL",
    ];
    const HARMLESS: &[&str] = &["_FILE", "_PATH", "_DIR", "_ARN", "_NAME", "_URL", "_TTL", "_TIMEOUT"];
    const MARKS: &[&str] = &["-----BEGIN ", "AKIA", "ASIA", "ghp_", "github_pat_", "xoxb-", "sk_live_"];
    let name = entry.key.text.to_ascii_uppercase();
    let by_name = WORDS.iter().any(|word| name.contains(word)) && !HARMLESS.iter().any(|end| name.ends_with(end));
    let by_value = MARKS.iter().any(|mark| value.starts_with(mark));
    // user:password@ in the address of a database or broker.
    let in_url = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':') && !user.ends_with(':'));
    if !value.is_empty() && (by_name || by_value || in_url) {
        let message = format!("{} looks like a secret in clear text", quoted(&entry.key.text));
        let help = format!("move it to the Parameter Store and write `{}: ssm:/path` below `secrets:`", entry.key.text);
        // The message does not repeat the value: diagnostics end up in build logs.
        findings.add(Code::PlainSecret, Some(entry.key_at), message).help(help).conceal();
    }
}

fn secrets(parent: &Mapping, findings: &mut Findings) -> Vec<Secret> {
    let Some(mapping) = parent.get("secrets").and_then(|entry| open_section(entry, findings)) else {
        return Vec::new();
    };
    let mut secrets = Vec::new();
    for entry in mapping.entries() {
        variable(entry, findings);
        let Some(text) = VALUES.text(entry, findings) else { continue };
        match secret_reference(text) {
            Some(reference) => secrets.push(Secret { name: entry.key.text.clone(), reference, at: entry.value.at }),
            None => {
                // The text may be the secret itself, so the message does not repeat it.
                let message = format!("the value of {} is no reference to a secret", quoted(&entry.key.text));
                findings
                    .add(Code::InvalidExtension, Some(entry.key_at), message)
                    .help("write `ssm:/path[:version]` or `secretsmanager:id[#json-key][@version]`")
                    .conceal();
            }
        }
    }
    secrets
}

fn secret_reference(text: &str) -> Option<SecretReference> {
    let sane = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    if let Some(rest) = text.strip_prefix("ssm:") {
        let (name, version) = if rest.starts_with("arn:") {
            (rest, None)
        } else {
            rest.split_once(':').map_or((rest, None), |(name, version)| (name, Some(version)))
        };
        let fits = sane(name) && version.is_none_or(sane);
        return fits.then(|| SecretReference::Parameter { name: name.to_owned(), version: version.map(str::to_owned) });
    }
    let rest = text.strip_prefix("secretsmanager:")?;
    let (rest, version) = rest.rsplit_once('@').map_or((rest, None), |(rest, version)| (rest, Some(version)));
    let (id, json_key) = rest.split_once('#').map_or((rest, None), |(id, key)| (id, Some(key)));
    let fits = sane(id) && version.is_none_or(sane) && json_key.is_none_or(|key| !key.is_empty());
    fits.then(|| SecretReference::Secret {
        id: id.to_owned(),
        json_key: json_key.map(str::to_owned),
        version: version.map(str::to_owned),
    })
}

fn hooks(parent: &Mapping, secrets: &[Secret], findings: &mut Findings) -> Vec<HookEntry> {
    let Some(events) = parent.get("hooks").and_then(|entry| open_section(entry, findings)) else { return Vec::new() };
    let known: HashSet<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    let mut entries = Vec::new();
    for event in events.entries() {
        let Some(scripts) = open_section(event, findings) else { continue };
        for script in scripts.entries() {
            let Some(options) = section(script, keys::HOOK_OPTIONS, findings) else { continue };
            let options = hook_options(options, &known, findings);
            let (event, location) = (event.key.text.clone(), script.key.text.clone());
            entries.push(HookEntry { event, location, options, at: script.key_at });
        }
    }
    entries
}

fn hook_options(options: &Mapping, known: &HashSet<&str>, findings: &mut Findings) -> HookOptions {
    let limits = options.get("limits").and_then(|entry| section(entry, keys::HOOK_LIMITS, findings));
    without_effect(options, "leader_only", "the script runs on every host", findings);
    let flag = |key: &str, findings: &mut Findings| {
        options.get(key).and_then(|entry| VALUES.boolean(entry, findings)).unwrap_or_default()
    };
    let mut secrets = Vec::new();
    for (name, at) in texts(options, "secrets", findings) {
        if !known.contains(name.as_str()) {
            let message = format!("{} is not declared below `hostler.secrets`", quoted(&name));
            findings.add(Code::InvalidExtension, Some(at), message).help("declare it there, with its reference");
        }
        secrets.push(name);
    }
    HookOptions {
        repeatable: flag("repeatable", findings),
        leader_only: flag("leader_only", findings),
        tasks_max: limits.and_then(|limits| count(limits, "tasks_max", findings)),
        memory_max: limits.and_then(|limits| VALUES.size(limits.get("memory_max")?, &COUNT, findings)),
        environment: environment(options, findings),
        secrets,
    }
}

/// Values of `traffic.method`.
const METHODS: &[(&str, TrafficMethod)] = &[
    ("standby", TrafficMethod::Standby),
    ("target-groups", TrafficMethod::TargetGroups),
    ("none", TrafficMethod::None),
];

fn traffic(mapping: &Mapping, findings: &mut Findings) -> Traffic {
    let method = mapping.get("method").and_then(|entry| VALUES.word(entry, METHODS, findings));
    let otherwise = Traffic::default();
    let target_groups = texts(mapping, "target_groups", findings);
    for (arn, at) in target_groups.iter().filter(|(arn, _)| !arn.starts_with("arn:")) {
        let message = format!("{} is not the ARN of a target group", quoted(arn));
        findings.add(Code::InvalidExtension, Some(*at), message).help("it begins with `arn:`");
    }
    Traffic {
        method,
        target_groups: target_groups.into_iter().map(|(arn, _)| arn).collect(),
        drain_timeout_seconds: seconds(mapping, "drain_timeout", findings).unwrap_or(otherwise.drain_timeout_seconds),
        healthy_timeout_seconds: seconds(mapping, "healthy_timeout", findings)
            .unwrap_or(otherwise.healthy_timeout_seconds),
    }
}
