//! What stands under the top-level key `hostler:`, which the CodeDeploy agent ignores.
//!
//! Strict, unlike the rest of the file: an unknown key or a value that cannot be used is an error, because nothing
//! older than hostler has ever read it. `packaging/schema/appspec.schema.json` says the same to editors.

use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::interpret::place;
use super::keys;
use super::scalar::{Resolved, resolve};
use crate::yaml::{Entry, Mapping, Node, Position};

/// hostler's own part of an appspec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// Facts of the host are checked only after BeforeInstall (`install: {recheck_after: BeforeInstall}`).
    pub recheck_after_before_install: bool,
    /// Variables for every hook, in the order written.
    pub environment: Vec<(String, String)>,
    /// Variables whose value is fetched at deployment time; a hook gets those that its options list.
    pub secrets: Vec<Secret>,
    /// Options for single scripts, as written; each script has its own in `HookScript::options` already.
    pub hooks: Vec<HookEntry>,
    /// Health checks of the installed application.
    pub health: Vec<HealthCheck>,
    /// How the host leaves and enters service.
    pub traffic: Traffic,
}

/// A variable and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Name of the variable.
    pub name: String,
    /// Where the value is.
    pub reference: SecretReference,
    /// Where the reference stands.
    pub at: Position,
}

/// Where a secret's value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SecretReference {
    /// `ssm:/path[:version-or-label]`: a parameter of the Parameter Store.
    Parameter {
        /// Name of the parameter.
        name: String,
        /// Version number or label.
        version: Option<String>,
    },
    /// `secretsmanager:id[#json-key][@stage-or-version]`: a secret of Secrets Manager.
    Secret {
        /// Name or ARN of the secret.
        id: String,
        /// Key in the secret's JSON text.
        json_key: Option<String>,
        /// Stage or version id.
        version: Option<String>,
    },
}

/// hostler's own options for a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOptions {
    /// May be run again after an interruption.
    pub repeatable: bool,
    /// Runs on one host of the fleet.
    pub leader_only: bool,
    /// Most processes and threads.
    pub tasks_max: Option<u64>,
    /// Most memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Variables for this script, in the order written; they win over those for every hook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Names of the secrets that this script gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Options for one script, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEntry {
    /// The lifecycle event.
    pub event: String,
    /// The script.
    pub location: String,
    /// Its options.
    pub options: HookOptions,
    /// Where the location stands.
    pub at: Position,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Name for reports; made from the probe where none is written.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Seconds between two probes.
    pub interval_seconds: u64,
    /// Seconds for one probe.
    pub timeout_seconds: u64,
    /// Successes in a row that make it healthy.
    pub successes: u64,
    /// Failures in a row that make it unhealthy.
    pub failures: u64,
    /// Seconds after ApplicationStart until it must be healthy.
    pub deadline_seconds: u64,
    /// Where it stands.
    pub at: Position,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP GET.
    Http {
        /// Address, with `http://` or `https://`.
        url: String,
        /// The status that counts as success; `None` is any from 200 to 299.
        status: Option<u16>,
    },
    /// A TCP connection to `host:port`.
    Tcp {
        /// Host and port.
        address: String,
    },
    /// A script of the bundle that ends with 0.
    Command {
        /// Path in the bundle.
        location: String,
        /// The user to run as; `None` is the agent's user.
        runas: Option<String>,
    },
    /// A systemd unit that is active.
    Unit {
        /// Name of the unit.
        unit: String,
    },
}

/// How a host leaves service before ApplicationStop and comes back after ValidateService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// The way; `None` where the appspec leaves it to the host's configuration.
    pub method: Option<TrafficMethod>,
    /// ARNs of target groups, for [`TrafficMethod::TargetGroups`].
    pub target_groups: Vec<String>,
    /// Seconds to wait for connections to end.
    pub drain_timeout_seconds: u64,
    /// Seconds to wait until the load balancer finds the host healthy.
    pub healthy_timeout_seconds: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        // A target group's own deregistration delay is 300 seconds.
        Self { method: None, target_groups: Vec::new(), drain_timeout_seconds: 300, healthy_timeout_seconds: 300 }
    }
}

/// A way out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficMethod {
    /// Nothing is done.
    None,
    /// The Auto Scaling group's Standby state.
    Standby,
    /// Deregistration from target groups.
    TargetGroups,
}

pub(super) fn read(entry: &Entry, findings: &mut Findings) -> Extension {
    let mut extension = Extension::default();
    let Some(mapping) = mapping(entry, keys::EXTENSION, findings) else { return extension };
    if let Some(install) = mapping.get("install").and_then(|entry| self::mapping(entry, keys::INSTALL, findings)) {
        extension.recheck_after_before_install = recheck_after(install, findings);
    }
    extension.environment = environment(mapping, findings);
    extension.secrets = secrets(mapping, findings);
    extension.hooks = hooks(mapping, &extension.secrets, findings);
    extension.health = health(mapping, findings);
    if let Some(traffic) = mapping.get("traffic").and_then(|entry| self::mapping(entry, keys::TRAFFIC, findings)) {
        extension.traffic = self::traffic(traffic, findings);
    }
    extension
}

/// The mapping of an entry, its keys checked; `None` with an error for anything else, without one for nothing.
fn mapping<'e>(entry: &'e Entry, known: &[&str], findings: &mut Findings) -> Option<&'e Mapping> {
    let mapping = any_mapping(entry, findings)?;
    known_keys(mapping, known, &entry.key.text, findings);
    Some(mapping)
}

fn any_mapping<'e>(entry: &'e Entry, findings: &mut Findings) -> Option<&'e Mapping> {
    if entry.value.is_null() {
        return None;
    }
    let mapping = entry.value.as_mapping();
    if mapping.is_none() {
        invalid(entry, "not a mapping of keys", findings).help("write its keys below it, indented");
    }
    mapping
}

fn known_keys(mapping: &Mapping, known: &[&str], of: &str, findings: &mut Findings) {
    for entry in mapping.entries().iter().filter(|entry| !known.contains(&entry.key.text.as_str())) {
        let message = format!("{} is no key of {}", quoted(&entry.key.text), quoted(of));
        let found = findings.add(Code::UnknownExtensionKey, Some(entry.key_at), message);
        match keys::nearest(&entry.key.text, known) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("known keys: {}", known.join(", "))),
        };
    }
}

fn invalid<'f>(entry: &Entry, expected: &str, findings: &'f mut Findings) -> &'f mut super::diagnose::Diagnostic {
    let shown = match entry.value.as_scalar() {
        Some(scalar) if !scalar.is_null() => quoted(&scalar.text),
        _ => entry.value.kind().to_owned(),
    };
    let message = format!("{} is {shown}, {expected}", quoted(&entry.key.text));
    findings.add(Code::InvalidExtension, Some(place(entry)), message)
}

fn recheck_after(install: &Mapping, findings: &mut Findings) -> bool {
    let Some(entry) = install.get("recheck_after") else { return false };
    let is_event = entry.value.as_scalar().is_some_and(|scalar| scalar.text == "BeforeInstall");
    if !is_event {
        invalid(entry, "which is no event after which the host can be checked", findings)
            .help("write `recheck_after: BeforeInstall`, or remove it");
    }
    is_event
}

/// Text for a variable. Numbers and truth values are taken as written; nothing at all is refused.
fn scalar_text(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let text = entry.value.as_scalar().filter(|scalar| !scalar.is_null()).map(|scalar| scalar.text.clone());
    if text.is_none() {
        invalid(entry, "not text", findings).help("write the value after the colon; `''` is the empty text");
    }
    text
}

fn boolean(mapping: &Mapping, key: &str, findings: &mut Findings) -> bool {
    let Some(entry) = mapping.get(key) else { return false };
    match entry.value.as_scalar().map(resolve) {
        Some(Resolved::Bool(value)) => value,
        _ => {
            invalid(entry, "neither true nor false", findings).help("write true or false, without quotes");
            false
        }
    }
}

/// A whole number above 0, written in plain digits.
fn number(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    let entry = mapping.get(key)?;
    let digits = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let number = plain_number(digits);
    if number.is_none() {
        invalid(entry, "not a whole number above 0", findings).help("write plain digits");
    }
    number
}

fn plain_number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// Seconds: plain digits, or digits and one of s, m, h.
fn seconds(mapping: &Mapping, key: &str, otherwise: u64, findings: &mut Findings) -> u64 {
    /// Thirty days: beyond it, a mistake is likelier than a wish.
    const MOST: u64 = 30 * 24 * 3600;
    let Some(entry) = mapping.get(key) else { return otherwise };
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let (digits, factor) = match text.char_indices().next_back() {
        Some((place, 's')) => (text.get(..place), 1),
        Some((place, 'm')) => (text.get(..place), 60),
        Some((place, 'h')) => (text.get(..place), 3600),
        _ => (Some(text), 1),
    };
    let seconds = digits.and_then(plain_number).and_then(|number| number.checked_mul(factor));
    match seconds.filter(|seconds| *seconds <= MOST) {
        Some(seconds) => seconds,
        None => {
            invalid(entry, "not a duration of up to 30 days", findings)
                .help("write `30s`, `5m`, `1h` or plain seconds");
            otherwise
        }
    }
}

/// Bytes: plain digits, or digits and one of K, M, G (powers of 1024).
fn bytes(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<u64> {
    let entry = mapping.get(key)?;
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let (digits, shift) = match text.char_indices().next_back() {
        Some((place, 'K')) => (text.get(..place), 10),
        Some((place, 'M')) => (text.get(..place), 20),
        Some((place, 'G')) => (text.get(..place), 30),
        _ => (Some(text), 0),
    };
    let bytes = digits.and_then(plain_number).and_then(|number| number.checked_mul(1 << shift));
    if bytes.is_none() {
        invalid(entry, "not a size", findings).help("write `512M`, `2G` or plain bytes");
    }
    bytes
}

fn texts(mapping: &Mapping, key: &str, findings: &mut Findings) -> Vec<(String, Position)> {
    let Some(entry) = mapping.get(key).filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let items = entry.value.as_sequence().map(|items| {
        items.iter().map(|item| item.as_scalar().filter(|s| !s.is_null()).map(|s| (s.text.clone(), item.at))).collect()
    });
    match items {
        Some(Some(texts)) => texts,
        Some(None) | None => {
            invalid(entry, "not a list of texts", findings).help(format!("write `{key}: [one, two]`"));
            Vec::new()
        }
    }
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
    let Some(mapping) = parent.get("environment").and_then(|entry| any_mapping(entry, findings)) else {
        return Vec::new();
    };
    let mut variables = Vec::new();
    for entry in mapping.entries() {
        variable(entry, findings);
        let Some(value) = scalar_text(entry, findings) else { continue };
        if value.contains('\0') {
            let message = format!("the value of {} holds a zero byte", quoted(&entry.key.text));
            findings
                .add(Code::InvalidExtension, Some(entry.key_at), message)
                .help("no environment variable can hold one")
                .conceal();
        }
        plain_secret(entry, &value, findings);
        variables.push((entry.key.text.clone(), value));
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
        // The value itself is not repeated: diagnostics end up in build logs.
        findings.add(Code::PlainSecret, Some(entry.key_at), message).help(help).conceal();
    }
}

fn secrets(parent: &Mapping, findings: &mut Findings) -> Vec<Secret> {
    let Some(mapping) = parent.get("secrets").and_then(|entry| any_mapping(entry, findings)) else {
        return Vec::new();
    };
    let mut secrets = Vec::new();
    for entry in mapping.entries() {
        variable(entry, findings);
        let Some(text) = scalar_text(entry, findings) else { continue };
        match secret_reference(&text) {
            Some(reference) => secrets.push(Secret { name: entry.key.text.clone(), reference, at: entry.value.at }),
            None => {
                // The text may be the secret itself, so it is not repeated.
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
    let Some(events) = parent.get("hooks").and_then(|entry| any_mapping(entry, findings)) else { return Vec::new() };
    let known: std::collections::HashSet<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    let mut entries = Vec::new();
    for event in events.entries() {
        let Some(scripts) = any_mapping(event, findings) else { continue };
        for script in scripts.entries() {
            let Some(options) = mapping(script, keys::HOOK_OPTIONS, findings) else { continue };
            let options = hook_options(options, &known, findings);
            let (event, location) = (event.key.text.clone(), script.key.text.clone());
            entries.push(HookEntry { event, location, options, at: script.key_at });
        }
    }
    entries
}

fn hook_options(options: &Mapping, known: &std::collections::HashSet<&str>, findings: &mut Findings) -> HookOptions {
    let limits = options.get("limits").and_then(|entry| mapping(entry, keys::HOOK_LIMITS, findings));
    let mut secrets = Vec::new();
    for (name, at) in texts(options, "secrets", findings) {
        if !known.contains(name.as_str()) {
            let message = format!("{} is not declared below `hostler.secrets`", quoted(&name));
            findings.add(Code::InvalidExtension, Some(at), message).help("declare it there, with its reference");
        }
        secrets.push(name);
    }
    HookOptions {
        repeatable: boolean(options, "repeatable", findings),
        leader_only: boolean(options, "leader_only", findings),
        tasks_max: limits.and_then(|limits| number(limits, "tasks_max", findings)),
        memory_max: limits.and_then(|limits| bytes(limits, "memory_max", findings)),
        environment: environment(options, findings),
        secrets,
    }
}

fn health(parent: &Mapping, findings: &mut Findings) -> Vec<HealthCheck> {
    let Some(entry) = parent.get("health").filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    match entry.value.as_sequence() {
        Some(items) => items.iter().filter_map(|item| health_check(item, findings)).collect(),
        None => {
            invalid(entry, "not a list of checks", findings)
                .help("begin each check with `- http:`, `- tcp:`, `- command:` or `- unit:`");
            Vec::new()
        }
    }
}

fn health_check(node: &Node, findings: &mut Findings) -> Option<HealthCheck> {
    const HELP: &str = "a check has exactly one of `http`, `tcp`, `command` and `unit`";
    let Some(check) = node.as_mapping() else {
        findings.add(Code::InvalidExtension, Some(node.at), format!("a health check is {}", node.kind())).help(HELP);
        return None;
    };
    known_keys(check, keys::HEALTH, "health", findings);
    let probes: Vec<&Entry> = ["http", "tcp", "command", "unit"].iter().filter_map(|key| check.get(key)).collect();
    let probe = match probes.as_slice() {
        [entry] => probe(entry, findings),
        several => {
            let at = check.entries().first().map_or(node.at, |entry| entry.key_at);
            let message = format!("this health check has {} probes", several.len());
            findings.add(Code::InvalidExtension, Some(at), message).help(HELP);
            None
        }
    };
    let name = check.get("name").and_then(|entry| scalar_text(entry, findings));
    let (interval_seconds, timeout_seconds) =
        (seconds(check, "interval", 5, findings), seconds(check, "timeout", 5, findings));
    let successes = number(check, "successes", findings).unwrap_or(2);
    let failures = number(check, "failures", findings).unwrap_or(3);
    let deadline_seconds = seconds(check, "deadline", 300, findings);
    let probe = probe?;
    let name = name.unwrap_or_else(|| probe.target().to_owned());
    let at = check.entries().first().map_or(node.at, |entry| entry.key_at);
    Some(HealthCheck { name, probe, interval_seconds, timeout_seconds, successes, failures, deadline_seconds, at })
}

impl Probe {
    /// What is asked, as a name.
    fn target(&self) -> &str {
        match self {
            Self::Http { url, .. } => url,
            Self::Tcp { address } => address,
            Self::Command { location, .. } => location,
            Self::Unit { unit } => unit,
        }
    }
}

fn probe(entry: &Entry, findings: &mut Findings) -> Option<Probe> {
    match entry.key.text.as_str() {
        "http" => {
            let http = mapping(entry, keys::HEALTH_HTTP, findings)?;
            let url = required(http, entry, "url", findings)?;
            let (text, url_entry) = url;
            if !text.starts_with("http://") && !text.starts_with("https://") {
                invalid(url_entry, "not an address", findings).help("begin it with http:// or https://");
            }
            let status = number(http, "status", findings);
            let code = status.and_then(|status| u16::try_from(status).ok()).filter(|code| (100..600).contains(code));
            if let (Some(_), None, Some(entry)) = (status, code, http.get("status")) {
                invalid(entry, "not an HTTP status", findings).help("write a number from 100 to 599");
            }
            Some(Probe::Http { url: text, status: code })
        }
        "tcp" => {
            let address = scalar_text(entry, findings)?;
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
                invalid(entry, "not host:port", findings).help("write `tcp: 127.0.0.1:8080`");
            }
            Some(Probe::Tcp { address })
        }
        "command" => {
            let command = mapping(entry, keys::HEALTH_COMMAND, findings)?;
            let (location, _) = required(command, entry, "location", findings)?;
            let runas = command.get("runas").and_then(|entry| scalar_text(entry, findings));
            Some(Probe::Command { location, runas })
        }
        _ => Some(Probe::Unit { unit: scalar_text(entry, findings)? }),
    }
}

fn required<'m>(
    mapping: &'m Mapping,
    parent: &Entry,
    key: &str,
    findings: &mut Findings,
) -> Option<(String, &'m Entry)> {
    let Some(entry) = mapping.get(key) else {
        let message = format!("{} has no `{key}`", quoted(&parent.key.text));
        findings.add(Code::InvalidExtension, Some(parent.key_at), message).help(format!("write `{key}:` below it"));
        return None;
    };
    scalar_text(entry, findings).map(|text| (text, entry))
}

fn traffic(mapping: &Mapping, findings: &mut Findings) -> Traffic {
    let method = mapping.get("method").and_then(|entry| {
        let method = match entry.value.as_scalar().map(|scalar| scalar.text.as_str()) {
            Some("none") => Some(TrafficMethod::None),
            Some("standby") => Some(TrafficMethod::Standby),
            Some("target-groups") => Some(TrafficMethod::TargetGroups),
            _ => None,
        };
        if method.is_none() {
            invalid(entry, "no way out of service", findings).help("write `standby`, `target-groups` or `none`");
        }
        method
    });
    let otherwise = Traffic::default();
    let target_groups = texts(mapping, "target_groups", findings);
    for (arn, at) in target_groups.iter().filter(|(arn, _)| !arn.starts_with("arn:")) {
        let message = format!("{} is not the ARN of a target group", quoted(arn));
        findings.add(Code::InvalidExtension, Some(*at), message).help("it begins with `arn:`");
    }
    Traffic {
        method,
        target_groups: target_groups.into_iter().map(|(arn, _)| arn).collect(),
        drain_timeout_seconds: seconds(mapping, "drain_timeout", otherwise.drain_timeout_seconds, findings),
        healthy_timeout_seconds: seconds(mapping, "healthy_timeout", otherwise.healthy_timeout_seconds, findings),
    }
}
