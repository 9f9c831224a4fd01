//! SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format), with what GitHub's code scanning asks for: rules with
//! a help text, and a place for each result.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::appspec::diagnose::View;
use crate::yaml::Position;

use super::{level, meaning, sentence};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// The same name as in the ids of the JSON Schemas.
const INFORMATION: &str = "https://hostler.example/";

/// A log of one run. `version` is the program's.
pub fn log<'f>(views: impl Iterator<Item = View<'f>>, version: &str) -> Value {
    let views: Vec<View<'_>> = views.collect();
    let codes: BTreeSet<&str> = views.iter().map(|view| view.code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let driver = json!({
        "name": "hostler",
        "version": version,
        "informationUri": INFORMATION,
        "rules": codes.iter().map(|code| rule(code)).collect::<Vec<_>>(),
    });
    let results: Vec<Value> = views.iter().map(|view| result(view, &codes)).collect();
    let run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] })
}

fn rule(code: &str) -> Value {
    let says = json!({ "text": meaning(code).unwrap_or(code) });
    json!({ "id": code, "shortDescription": says, "fullDescription": says, "help": says })
}

fn result(view: &View<'_>, codes: &[&str]) -> Value {
    json!({
        "ruleId": view.code,
        "ruleIndex": codes.binary_search(&view.code).unwrap_or_default(),
        "level": level(view.severity),
        "message": { "text": sentence(view, "; ") },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(view.file) },
            "region": region(view.at),
        } }],
    })
}

/// Code scanning wants a line for each result: a finding about a whole file has the first one.
fn region(at: Option<Position>) -> Value {
    let Some(at) = at else { return json!({ "startLine": 1, "startColumn": 1 }) };
    let mut region = json!({ "startLine": at.line, "startColumn": at.column });
    if at.width > 0 {
        region["endLine"] = json!(at.line);
        region["endColumn"] = json!(at.column.saturating_add(at.width));
    }
    region
}

/// A path as a URI reference (RFC 3986). A relative path must not begin with something that looks like a scheme.
fn uri(path: &str) -> String {
    let escaped: String = path.bytes().map(escape).collect();
    if path.starts_with('/') { format!("file://{escaped}") } else { escaped }
}

fn escape(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}
