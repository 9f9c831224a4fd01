//! Mistakes in harmless places, tags, and merge keys.

use std::collections::BTreeMap;

use super::super::diagnose::Severity;
use super::super::lint::lint_bundle;
use super::*;
use crate::bundle::BundleListing;

/// Every kind of mistake that a script may have.
const FAULTS: &str = "    - location: a.sh\n      timeout: soon\n    - location: ../b.sh\n    - location: c.sh\n      runas: [x]\n    - timeout: 3\n    - d.sh\n";

fn severities(reading: &Reading) -> Vec<Severity> {
    reading.diagnostics.iter().map(|found| found.severity).collect()
}

#[test]
fn faults_of_an_event_that_nobody_calls_are_warnings() {
    for (event, unusable) in [("AfterDeploy", true), ("Install", true), ("BlockTraffic", true)] {
        let found = reading(&format!("hooks:\n  {event}:\n{FAULTS}  AfterInstall:\n    - location: e.sh\n"));
        assert!(severities(&found).iter().all(|severity| *severity == Severity::Warning), "{event}: {found:?}");
        let codes: BTreeSet<Code> = codes(&found).into_iter().collect();
        for code in [Code::InvalidTimeout, Code::LeavesBundle, Code::WrongType, Code::MissingLocation] {
            assert!(codes.contains(&code), "{event}: {code:?} of {codes:?}");
        }
        let hooks: BTreeMap<String, bool> =
            found.spec.unwrap().hooks.into_iter().map(|hooks| (hooks.event, hooks.unusable)).collect();
        assert_eq!(hooks[event], unusable, "what is left of it must not run");
        assert!(!hooks["AfterInstall"]);
    }
    assert!(reading("hooks:\n  AfterDeploy: run.sh\n").spec.unwrap().hooks[0].unusable);
    assert!(!reading("hooks:\n  AfterDeploy:\n    - location: a.sh\n").spec.unwrap().hooks[0].unusable);
    let called = reading(&format!("hooks:\n  BeforeInstall:\n{FAULTS}"));
    assert!(called.spec.is_none() && severities(&called).contains(&Severity::Error));
}

#[test]
fn an_absent_script_of_such_an_event_is_a_warning_and_of_a_real_one_an_error() {
    let absent = |body: &str| {
        let listing = BundleListing::new(Vec::new());
        let found = lint_bundle("appspec.yml", &spec(body), &listing, &BTreeMap::new(), &Limits::default());
        found.iter().filter(|f| f.code == Code::ScriptAbsent).map(|f| f.severity).collect::<Vec<_>>()
    };
    let unknown = "  AfterDeploy:\n    - location: gone.sh\n";
    let known = "  AfterInstall:\n    - location: gone.sh\n";
    assert_eq!(absent(&format!("hooks:\n{unknown}")), [Severity::Warning]);
    assert_eq!(absent(&format!("hooks:\n{known}")), [Severity::Error]);
    // A script in both groups runs.
    assert_eq!(absent(&format!("hooks:\n{unknown}{known}")), [Severity::Error]);
}

/// Psych 4.0.3 refuses these, or gives them another meaning.
#[test]
fn tags_that_change_what_they_stand_before_are_refused_with_line_and_tag() {
    for (body, tag) in [
        ("files: !!set\n  ? {source: a, destination: /b}\n", "!!set"),
        ("files: !!set {a: , b: }\n", "!!set"),
        ("files: !!set {}\n", "!!set"),
        ("files: !set {}\n", "!set"),
        ("files: !!omap\n  - source: a\n  - destination: /b\n", "!!omap"),
        ("files: !!pairs []\n", "!!pairs"),
        ("files: !ruby/array:Array []\n", "!ruby/array:Array"),
        ("files: [!ruby/hash:Hash {source: a, destination: /b}]\n", "!ruby/hash:Hash"),
        ("files: [{source: !!binary YQ==, destination: /b}]\n", "!!binary"),
        ("permissions: !!omap []\n", "!!omap"),
        ("permissions: !map:Name {}\n", "!map:Name"),
        ("hooks: !!omap\n  - BeforeInstall: []\n", "!!omap"),
        ("hooks: !ruby/object:X {}\n", "!ruby/object:X"),
        ("hooks: {BeforeInstall: !<tag:yaml.org,2002:set> {}}\n", "!!set"),
    ] {
        let found = reading(body);
        assert!(found.spec.is_none(), "{body}");
        let of_tag = found.diagnostics.iter().find(|found| found.code == Code::UnknownTag);
        let of_tag = of_tag.unwrap_or_else(|| panic!("{body}: {found:?}"));
        assert!(of_tag.message.contains(&format!("`{tag}`")), "{body}: {}", of_tag.message);
        assert!(of_tag.at.unwrap().line >= 3 && of_tag.help.is_some(), "{body}: {of_tag:?}");
        // A bundle that was accepted before is read as then: the tag has no effect.
        let text = |body: &str| format!("version: 0.0\nos: linux\n{body}");
        let again = |body: &str| read_again("appspec.yml", text(body).as_bytes(), &Limits::default());
        let tag = if body.contains("!<") { "!<tag:yaml.org,2002:set>" } else { tag };
        let (with, without) = (again(body), again(&body.replace(tag, "")));
        assert_eq!(with.spec.is_some(), without.spec.is_some(), "{body}: {with:?}");
        let of_tag = with.diagnostics.iter().find(|found| found.code == Code::UnknownTag);
        assert_eq!(of_tag.map(|found| found.severity), Some(Severity::Warning), "{body}: {with:?}");
    }
    // Every reader ignores tags that state the usual kind, and unknown tags.
    for body in ["files: !!seq []\n", "hooks: !!map {}\n", "files: !own []\n", "hostler: {environment: {A: !!str 1}}\n"]
    {
        assert!(!codes(&reading(body)).contains(&Code::UnknownTag), "{body}");
    }
}

#[test]
fn every_node_of_files_that_is_no_list_of_mappings_is_an_error() {
    for body in ["{a: b}", "text", "1", "yes", "[text]", "[[]]", "[~]", "!!set {a: }", "!!str ''", "[{}]"] {
        assert!(reading(&format!("files: {body}\n")).spec.is_none(), "{body}");
    }
}

#[test]
fn a_key_before_a_merge_key_with_another_value_is_a_warning_as_the_incumbent_takes_the_merged_one() {
    let body = |script: &str| {
        format!("hooks:\n  BeforeInstall:\n    - &x {{location: a.sh, timeout: 60}}\n  AfterInstall:\n    - {script}\n")
    };
    for (script, seconds, warned) in [
        ("{timeout: 5, <<: *x}", 5, true),
        ("{timeout: 5, <<: [*x, {timeout: 7}]}", 5, true),
        ("{<<: *x, timeout: 5}", 5, false),
        ("{timeout: 60, <<: *x}", 60, false),
        ("{<<: *x}", 60, false),
        ("{location: a.sh, <<: *x}", 60, false),
        // The first of several values wins for every reader.
        ("{timeout: 5, <<: [{timeout: 5, location: b.sh}, *x]}", 5, false),
        ("{<<: [*x, {timeout: 7}]}", 60, false),
    ] {
        let found = reading(&body(script));
        let warning = found.diagnostics.iter().find(|found| found.code == Code::KeyBeforeMerge);
        assert_eq!(warning.is_some(), warned, "{script}: {found:?}");
        assert_eq!(found.spec.unwrap().scripts("AfterInstall")[0].timeout_seconds, seconds, "{script}");
    }
}
