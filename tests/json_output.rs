//! docs/usage/json-output.md names every field that the program prints with `--json`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::host::{GROUP, Host};

const PAGE: &str = include_str!("../docs/usage/json-output.md");

/// An appspec with a mistake that is only a warning, an attribute, a script and a health check.
const APPSPEC: &str = "version: 0.0
os: linux
files:
  - source: site
    destination: /srv/site
    patern: x
permissions:
  - object: /srv/site
    mode: '0640'
hooks:
  ValidateService:
    - location: check.sh
hostler:
  health:
    - command: {location: check.sh}
      successes: 1
";

/// The documents that a command prints, one a line.
fn documents(host: &Host, arguments: &[&str]) -> Vec<Value> {
    let output = host.hostler(&[&["--json"][..], arguments].concat());
    let parsed = output.out.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>();
    let found = parsed.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", output.out));
    assert!(!found.is_empty(), "{arguments:?} printed no document: {}", output.err);
    found
}

/// Adds the names of all fields. Names of events and paths are values that happen to be keys.
fn fields(value: &Value, command: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    found.entry(name.clone()).or_insert_with(|| command.to_owned());
                }
                fields(value, command, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, command, found)),
        _ => {}
    }
}

fn is_named(field: &str) -> bool {
    let forms = [format!("`{field}`"), format!("`{field}[]`"), format!(".{field}`"), format!(".{field}[]`")];
    forms.iter().any(|form| PAGE.contains(form.as_str())) || PAGE.contains(&format!("\"{field}\":"))
}

#[test]
fn every_field_of_the_json_output_is_documented() {
    let host = Host::new();
    host.bundle("good", &[("appspec.yml", APPSPEC), ("site/index.html", "1\n"), ("check.sh", "#!/bin/sh\necho hi\n")]);
    host.bundle("bad", &[("appspec.yml", APPSPEC), ("check.sh", "#!/bin/sh\necho bad; exit 3\n")]);
    host.bundle("bad", &[("site/index.html", "2\n")]);
    let revision = host.push("good");
    let release = "store/shop/web/release.json";
    let in_group = |arguments: &[&'static str]| [arguments, &GROUP].concat();
    let commands: Vec<Vec<&str>> = vec![
        vec!["init", "first"],
        vec!["validate", "good"],
        in_group(&["plan", "good"]),
        vec!["push", "bad", "store"],
        vec!["keygen", "ci.key"],
        [&["release", "store", &revision, "--key", "ci.key"][..], &GROUP].concat(),
        vec!["validate", release, "--public-key", "ci.key.pub"],
        in_group(&["run", "--once", "--channel", "store"]),
        in_group(&["deploy", "bad"]),
        vec!["status"],
        vec!["status", "--health"],
        vec!["logs"],
        vec!["doctor"],
        vec!["history", "--verify"],
        in_group(&["remove"]),
        vec!["status"],
        vec!["history"],
        vec!["seal"],
        vec!["migrate"],
    ];
    let mut found = BTreeMap::new();
    for command in &commands {
        for document in documents(&host, command) {
            fields(&document, &command.join(" "), &mut found);
        }
    }
    assert!(found.len() > 100, "only {} fields were printed", found.len());
    found.retain(|field, _| !is_named(field));
    assert!(found.is_empty(), "docs/usage/json-output.md does not name {found:#?}");
}
