//! Health checks as written, below `hostler:` of an appspec and in a group of the configuration.

use super::super::codes::Code;
use super::super::diagnose::Findings;
use super::super::keys;
use super::HealthCheck;
use super::values::{any_mapping, invalid, known_keys, mapping, number, required, scalar_text, seconds};
use crate::health_check::{Check, HttpProbe, Probe, ProcessProbe};
use crate::yaml::{Entry, Mapping, Node};

/// The place of the scripts of command checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// In the appspec's bundle.
    OfBundle,
    /// On the host: the configuration belongs to no bundle.
    OfHost,
}

/// The checks of the key `health`.
pub fn health(parent: &Mapping, scripts: Scripts, findings: &mut Findings) -> Vec<HealthCheck> {
    let Some(entry) = parent.get("health").filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    match entry.value.as_sequence() {
        Some(items) => items.iter().filter_map(|item| health_check(item, scripts, findings)).collect(),
        None => {
            invalid(entry, "not a list of checks", findings)
                .help("begin each check with `- http:`, `- tcp:`, `- command:`, `- unit:` or `- process:`");
            Vec::new()
        }
    }
}

fn health_check(node: &Node, scripts: Scripts, findings: &mut Findings) -> Option<HealthCheck> {
    const HELP: &str = "a check has exactly one of `http`, `tcp`, `command`, `unit` and `process`";
    let Some(check) = node.as_mapping() else {
        findings.add(Code::InvalidExtension, Some(node.at), format!("a health check is {}", node.kind())).help(HELP);
        return None;
    };
    known_keys(check, keys::HEALTH, "health", findings);
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
    let name = check.get("name").and_then(|entry| scalar_text(entry, findings));
    let (interval_seconds, timeout_seconds) =
        (seconds(check, "interval", 5, findings), seconds(check, "timeout", 5, findings));
    let successes = number(check, "successes", findings).unwrap_or(2);
    let failures = number(check, "failures", findings).unwrap_or(3);
    let deadline_seconds = seconds(check, "deadline", 300, findings);
    let grace_seconds = seconds(check, "grace", deadline_seconds, findings);
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
            let (location, at) = required(command, entry, "location", findings)?;
            if scripts == Scripts::OfHost && !location.starts_with('/') {
                invalid(at, "not an absolute path", findings).help("the configuration belongs to no bundle");
            }
            let runas = command.get("runas").and_then(|entry| scalar_text(entry, findings));
            Some(Probe::Command { location, runas })
        }
        "process" => process(entry, findings).map(Probe::Process),
        _ => Some(Probe::Unit { unit: scalar_text(entry, findings)? }),
    }
}

fn http(entry: &Entry, findings: &mut Findings) -> Option<HttpProbe> {
    let http = mapping(entry, keys::HEALTH_HTTP, findings)?;
    let (url, url_entry) = required(http, entry, "url", findings)?;
    let tls = url.starts_with("https://");
    if !tls && !url.starts_with("http://") {
        invalid(url_entry, "not an address", findings).help("begin it with http:// or https://");
    }
    let status = number(http, "status", findings);
    let code = status.and_then(|status| u16::try_from(status).ok()).filter(|code| (100..600).contains(code));
    if let (Some(_), None, Some(entry)) = (status, code, http.get("status")) {
        invalid(entry, "not an HTTP status", findings).help("write a number from 100 to 599");
    }
    let text = |key: &str, findings: &mut Findings| http.get(key).and_then(|entry| scalar_text(entry, findings));
    for key in ["tls_name", "ca_file"].into_iter().filter(|_| !tls) {
        if let Some(entry) = http.get(key) {
            invalid(entry, "which only an address with https:// uses", findings);
        }
    }
    Some(HttpProbe {
        url,
        status: code,
        body: text("body", findings),
        headers: headers(http, "headers", findings),
        response_headers: headers(http, "response_headers", findings),
        tls_name: text("tls_name", findings),
        ca_file: text("ca_file", findings),
    })
}

fn headers(http: &Mapping, key: &str, findings: &mut Findings) -> Vec<(String, String)> {
    let Some(mapping) = http.get(key).and_then(|entry| any_mapping(entry, findings)) else { return Vec::new() };
    let mut headers = Vec::new();
    for entry in mapping.entries() {
        let Some(value) = scalar_text(entry, findings) else { continue };
        let name = &entry.key.text;
        // RFC 9110 §5.6.2 (token) and §5.5 (field values), without parts that no check needs.
        let sign = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(sign) || !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            invalid(entry, "not an HTTP header", findings).help("write `Name: value` in plain letters");
        }
        headers.push((name.clone(), value));
    }
    headers
}

fn process(entry: &Entry, findings: &mut Findings) -> Option<ProcessProbe> {
    let process = mapping(entry, keys::HEALTH_PROCESS, findings)?;
    match (process.get("name"), process.get("pid_file")) {
        (Some(name), None) => scalar_text(name, findings).map(ProcessProbe::Name),
        (None, Some(file)) => {
            let path = scalar_text(file, findings)?;
            if !path.starts_with('/') {
                invalid(file, "not an absolute path", findings).help("write `pid_file: /run/web.pid`");
            }
            Some(ProcessProbe::PidFile(path))
        }
        _ => {
            invalid(entry, "without exactly one of `name` and `pid_file`", findings)
                .help("write `process: {name: nginx}` or `process: {pid_file: /run/nginx.pid}`");
            None
        }
    }
}
