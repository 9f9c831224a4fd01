//! Health checks as written, below `hostler:` of an appspec and in a group of the configuration.

use std::ops::RangeInclusive;

use super::super::codes::Code;
use super::super::diagnose::{Findings, quoted};
use super::super::keys;
use super::read::{count, open_section, seconds, section, text};
use super::{HealthCheck, VALUES};
use crate::health_check::{Check, HttpProbe, Probe, ProcessProbe};
use crate::values::{Unfit, absolute};
use crate::yaml::{Entry, Mapping, Node};

/// The place of the scripts of command checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// In the appspec's bundle.
    OfBundle,
    /// On the host: the configuration belongs to no bundle.
    OfHost,
}

/// Bounds of an HTTP status.
const STATUS: RangeInclusive<u64> = 100..=599;

/// The checks of the key `health`.
pub fn health(parent: &Mapping, scripts: Scripts, findings: &mut Findings) -> Vec<HealthCheck> {
    let Some(entry) = parent.get("health").filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let Some(items) = entry.value.as_sequence() else {
        let help = "begin each check with `- http:`, `- tcp:`, `- command:`, `- unit:` or `- process:`";
        VALUES.refuse(entry, &Unfit::new("a list of checks", help), findings);
        return Vec::new();
    };
    items.iter().filter_map(|item| health_check(item, scripts, findings)).collect()
}

fn health_check(node: &Node, scripts: Scripts, findings: &mut Findings) -> Option<HealthCheck> {
    const HELP: &str = "a check has exactly one of `http`, `tcp`, `command`, `unit` and `process`";
    let Some(check) = node.as_mapping() else {
        findings.add(Code::InvalidExtension, Some(node.at), format!("a health check is {}", node.kind())).help(HELP);
        return None;
    };
    VALUES.known(check, keys::HEALTH, "`health`", findings);
    let probes: Vec<&Entry> = keys::HEALTH_PROBES.iter().filter_map(|key| check.get(key)).collect();
    let probe = match probes.as_slice() {
        [entry] => probe(entry, scripts, findings),
        several => {
            let at = check.entries().first().map_or(node.at, |entry| entry.key_at);
            let message = format!("this health check has {} probes", several.len());
            findings.add(Code::InvalidExtension, Some(at), message).help(HELP);
            None
        }
    };
    let name = text(check, "name", findings);
    let interval_seconds = seconds(check, "interval", findings).unwrap_or(5);
    let timeout_seconds = seconds(check, "timeout", findings).unwrap_or(5);
    let successes = count(check, "successes", findings).unwrap_or(2);
    let failures = count(check, "failures", findings).unwrap_or(3);
    let deadline_seconds = seconds(check, "deadline", findings).unwrap_or(300);
    let grace_seconds = seconds(check, "grace", findings).unwrap_or(deadline_seconds);
    let probe = probe?;
    let name = name.unwrap_or_else(|| probe.target().to_owned());
    let at = check.entries().first().map_or(node.at, |entry| entry.key_at);
    let check =
        Check { name, probe, interval_seconds, timeout_seconds, successes, failures, grace_seconds, deadline_seconds };
    Some(HealthCheck { check, at })
}

fn probe(entry: &Entry, scripts: Scripts, findings: &mut Findings) -> Option<Probe> {
    match entry.key.text.as_str() {
        "http" => http(entry, findings).map(Probe::Http),
        "tcp" => VALUES.read(entry, findings, address).map(|address| Probe::Tcp { address }),
        "command" => {
            let command = section(entry, keys::HEALTH_COMMAND, findings)?;
            let (location, at) = required(command, entry, "location", findings)?;
            if scripts == Scripts::OfHost && absolute(&location).is_err() {
                let unfit = Unfit::new("an absolute path", "the configuration belongs to no bundle");
                VALUES.refuse(at, &unfit, findings);
            }
            Some(Probe::Command { location, runas: text(command, "runas", findings) })
        }
        "process" => process(entry, findings).map(Probe::Process),
        _ => VALUES.text(entry, findings).map(|unit| Probe::Unit { unit: unit.to_owned() }),
    }
}

/// `host:port`.
fn address(text: &str) -> Result<String, Unfit> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    port.map(|_| text.to_owned()).ok_or_else(|| Unfit::new("host:port", "write `tcp: 127.0.0.1:8080`"))
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
    VALUES.text(entry, findings).map(|text| (text.to_owned(), entry))
}

fn http(entry: &Entry, findings: &mut Findings) -> Option<HttpProbe> {
    let http = section(entry, keys::HEALTH_HTTP, findings)?;
    let (url, url_entry) = required(http, entry, "url", findings)?;
    let tls = url.starts_with("https://");
    if !tls && !url.starts_with("http://") {
        VALUES.refuse(url_entry, &Unfit::bare("an address that begins with http:// or https://"), findings);
    }
    let status = http.get("status").and_then(|entry| VALUES.whole(entry, &STATUS, findings));
    for key in ["tls_name", "ca_file"].into_iter().filter(|_| !tls) {
        if let Some(entry) = http.get(key) {
            let message = format!("`{key}` is only for an address with https://");
            VALUES.say(entry, message, findings).help("begin the address with https://, or leave it out");
        }
    }
    Some(HttpProbe {
        url,
        status: status.and_then(|status| u16::try_from(status).ok()),
        body: text(http, "body", findings),
        headers: headers(http, "headers", findings),
        response_headers: headers(http, "response_headers", findings),
        tls_name: text(http, "tls_name", findings),
        ca_file: text(http, "ca_file", findings),
    })
}

fn headers(http: &Mapping, key: &str, findings: &mut Findings) -> Vec<(String, String)> {
    let Some(mapping) = http.get(key).and_then(|entry| open_section(entry, findings)) else { return Vec::new() };
    let mut headers = Vec::new();
    for entry in mapping.entries() {
        let Some(value) = VALUES.text(entry, findings) else { continue };
        let name = &entry.key.text;
        // RFC 9110 §5.6.2 (token) and §5.5 (field values), without parts that no check needs.
        let sign = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(sign) || !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            VALUES.refuse(entry, &Unfit::new("an HTTP header", "write `Name: value` in plain letters"), findings);
        }
        headers.push((name.clone(), value.to_owned()));
    }
    headers
}

fn process(entry: &Entry, findings: &mut Findings) -> Option<ProcessProbe> {
    let process = section(entry, keys::HEALTH_PROCESS, findings)?;
    match (process.get("name"), process.get("pid_file")) {
        (Some(name), None) => VALUES.text(name, findings).map(|name| ProcessProbe::Name(name.to_owned())),
        (None, Some(file)) => {
            let path = |text: &str| absolute(text).map(|_| text.to_owned());
            VALUES.read(file, findings, path).map(ProcessProbe::PidFile)
        }
        _ => {
            VALUES
                .say(entry, "`process` needs exactly one of `name` and `pid_file`".to_owned(), findings)
                .help("write `process: {name: nginx}` or `process: {pid_file: /run/nginx.pid}`");
            None
        }
    }
}
