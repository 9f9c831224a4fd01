//! Findings of real appspecs in the two forms, held to what the forms' readers ask for.
// A test reports a failure by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{github, in_repository, meaning, sarif};
use crate::appspec;
use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Diagnostic, View};
use crate::plan::ProblemCode;

fn findings(file: &str, text: &str) -> Vec<Diagnostic> {
    appspec::read(file, text.as_bytes(), &Default::default()).diagnostics
}

const WRONG: &str =
    "version: 0.0\nos: linux\nfiles:\n  - source: a\n    destination: /srv\n    patern: x\nhooks:\n  AfterInstal: []\n";

fn log(list: &[Diagnostic]) -> Value {
    sarif::log(list.iter().map(View::from), "1.2.3")
}

#[test]
fn sarif_has_what_its_schema_and_code_scanning_require() {
    let list = findings("web/appspec.yml", WRONG);
    let log = log(&list);
    // Required by the schema: version and runs of a log, tool of a run, driver of a tool, name of a driver.
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let [run] = log["runs"].as_array().unwrap().as_slice() else { panic!("{log}") };
    let driver = &run["tool"]["driver"];
    assert_eq!((&driver["name"], &driver["version"]), (&"hostler".into(), &"1.2.3".into()));
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        // Required: id. Code scanning also needs the texts.
        assert!(rule["id"].is_string(), "{rule}");
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[text]["text"].as_str().unwrap().ends_with('.'), "{rule}");
        }
    }
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), list.len());
    let codes: BTreeSet<_> = list.iter().map(|found| found.code.name()).collect();
    assert!(rules.len() == codes.len() && rules.len() > 1, "each kind once: {rules:?}");
    for (result, found) in results.iter().zip(&list) {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!((&result["ruleId"], &rules[index]["id"]), (&found.code.name().into(), &result["ruleId"]));
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{result}");
        assert!(result["message"]["text"].as_str().unwrap().starts_with(&found.message), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "web/appspec.yml");
        let (region, at) = (&place["region"], found.at.unwrap());
        assert_eq!((&region["startLine"], &region["startColumn"]), (&at.line.into(), &at.column.into()));
        // The end is the column after the last character.
        assert_eq!(region["endColumn"], at.column + at.width);
    }
}

#[test]
fn sarif_without_findings_still_has_a_list_of_results() {
    let log = log(&[]);
    assert_eq!(log["runs"][0]["results"], Value::Array(vec![]));
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"], Value::Array(vec![]));
}

#[test]
fn a_finding_about_a_whole_file_has_its_first_line() {
    let region = log(&findings("a", ""))["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].clone();
    assert_eq!(region, serde_json::json!({ "startLine": 1, "startColumn": 1 }));
}

#[test]
fn paths_become_uris() {
    for (path, uri) in [
        ("web/appspec.yml", "web/appspec.yml"),
        ("a b/ü:%.yml", "a%20b/%C3%BC%3A%25.yml"),
        ("../appspec.yml", "../appspec.yml"),
        ("/srv/a b/appspec.yml", "file:///srv/a%20b/appspec.yml"),
    ] {
        let log = log(&findings(path, ""));
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], uri);
    }
}

#[test]
fn workflow_commands_escape_what_ends_their_parts() {
    let list = findings("a,b:c%\r\n.yml", "version: 0.0\nos: linux\nhooks:\n  AfterInstal: []\n");
    let said = github::render(list.iter().map(View::from));
    assert!(said.starts_with("::error file=a%2Cb%3Ac%25%0D%0A.yml,line=4,col=3,title=misspelt-event::"), "{said}");
    // The remedy is the second line of the annotation; colons of the message stay.
    assert!(said.contains("%0A") && said.ends_with('\n') && said.lines().count() == list.len(), "{said}");
    let whole = github::render(findings("a.yml", "").iter().map(View::from));
    assert!(whole.starts_with("::error file=a.yml,title=empty::"), "{whole}");
}

#[test]
fn files_are_named_as_the_repository_names_them() {
    let current = Path::new("/work/shop");
    for (given, named) in [
        ("web/appspec.yml", "web/appspec.yml"),
        ("./web//./appspec.yml", "web/appspec.yml"),
        ("/work/shop/web", "web"),
        ("/work/shop", "."),
        ("./", "."),
        ("/work/shopping/web", "/work/shopping/web"),
        ("../other", "../other"),
    ] {
        assert_eq!(in_repository(Path::new(given), current), Path::new(named), "{given}");
    }
}

#[test]
fn every_code_has_a_meaning() {
    let names = Code::ALL.iter().map(|code| code.name()).chain(ProblemCode::ALL.iter().map(|code| code.as_str()));
    for name in names.chain([super::UNUSABLE]) {
        let meaning = meaning(name).unwrap();
        assert!(meaning.len() > 10 && meaning.ends_with('.') && meaning == meaning.trim(), "{name}: {meaning}");
    }
    assert_eq!(meaning("no-such-code"), None);
}
