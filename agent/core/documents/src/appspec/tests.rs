use std::collections::BTreeSet;

use proptest::prelude::*;

use super::codes::Code;
use super::extension::{HookOptions, SecretReference, TrafficMethod};
use super::spec::*;
use super::*;
use crate::health_check::{HttpProbe, Probe};

mod catalogue;
mod harmless;

fn reading(body: &str) -> Reading {
    read("appspec.yml", format!("version: 0.0\nos: linux\n{body}").as_bytes(), &Limits::default())
}

fn spec(body: &str) -> AppSpec {
    let reading = reading(body);
    reading.spec.unwrap_or_else(|| panic!("{body}\n{}", diagnose::render(&reading.diagnostics, body)))
}

fn codes(reading: &Reading) -> Vec<Code> {
    reading.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

fn version_is_accepted(version: &str) -> bool {
    read("appspec.yml", format!("version: {version}\nos: linux\n").as_bytes(), &Limits::default()).spec.is_some()
}

#[test]
fn the_version_is_the_number_zero_in_any_notation() {
    for good in ["0.0", "0", "0.00", "-0.0", "0.0e+0", "0,0", "00", ".0", "0x0"] {
        assert!(version_is_accepted(good), "{good}");
    }
    for bad in ["'0.0'", "\"0.0\"", "!!str 0.0", "1.0", "0.1", "", "~", "[0.0]", "0.0.0", "v0.0", "no"] {
        assert!(!version_is_accepted(bad), "{bad}");
    }
}

#[test]
fn timeouts_are_read_as_the_incumbent_does() {
    let timeout = |text: &str| {
        let reading = reading(&format!("hooks:\n  BeforeInstall:\n    - location: a\n      timeout: {text}\n"));
        reading.spec.map(|spec| spec.scripts("BeforeInstall")[0].timeout_seconds)
    };
    for (text, seconds) in [
        ("300", 300),
        ("'300'", 300),
        ("0300", 192),
        ("1:30", 5400),
        ("1,200", 1200),
        ("0b101", 5),
        ("1e3", 1),
        ("300s", 300),
        ("90 seconds", 90),
        ("1.9", 1),
        ("", 3600),
        ("~", 3600),
        ("false", 3600),
        ("99999999999999999999999", u64::from(u32::MAX)),
    ] {
        assert_eq!(timeout(text), Some(seconds), "{text:?}");
    }
    for bad in ["0", "-5", "0.9", "forever", "true", "[5]", "{a: 5}", ".inf", ".nan", "'0x10'"] {
        assert_eq!(timeout(bad), None, "{bad:?}");
    }
}

#[test]
fn octal_digits_are_octal_quoted_or_not() {
    let mode = |text: &str| {
        let reading = reading(&format!("permissions:\n  - object: /a\n    mode: {text}\n"));
        let warned = codes(&reading).contains(&Code::AmbiguousMode);
        reading.spec.map(|spec| (spec.permissions[0].mode.unwrap(), warned))
    };
    for (text, bits, warned) in [
        ("644", 0o644, false),
        ("'0644'", 0o644, false),
        ("0644", 0o644, true),
        ("0755", 0o755, true),
        ("0600", 0o600, true),
        ("4755", 0o4755, false),
        ("''", 0, false),
        ("7", 0o7, false),
        ("010", 0o10, true),
        ("0x1ff", 0o511, true),
        ("1,200", 0o1200, true),
    ] {
        assert_eq!(mode(text), Some((bits, warned)), "{text}");
    }
    for bad in ["00755", "'00755'", "795", "rwx", "0o644", "-1", "7.0", "[644]", "true"] {
        assert_eq!(mode(bad), None, "{bad}");
    }
}

#[test]
fn hooks_are_read_as_written() {
    let spec = spec(
        "hooks:\n  BeforeInstall:\n    - location: ' a.sh '\n      runas: ' web '\n      sudo: yes\n  AfterInstall: ~\n  ApplicationStop: []\n  ApplicationStart: {}\n  ValidateService: false\n",
    );
    let [script] = spec.scripts("BeforeInstall") else { panic!("{spec:?}") };
    assert_eq!((script.location.as_str(), script.runas.as_deref(), script.sudo), ("a.sh", Some("web"), true));
    assert_eq!(script.at, Position { line: 5, column: 17, width: 8 });
    assert!(
        ["AfterInstall", "ApplicationStop", "ApplicationStart", "ValidateService"]
            .iter()
            .all(|e| spec.scripts(e).is_empty())
    );
}

#[test]
fn empty_sections_are_nothing_and_wrong_containers_are_refused() {
    for good in ["files: ~", "files: []", "files: {}", "files: false", "permissions:", "hooks: no", "hooks: {}"] {
        assert_eq!(spec(good), AppSpec::default(), "{good}");
    }
    for bad in [
        "files: x",
        "files: {source: a, destination: /b}",
        "hooks: []",
        "hooks: 3",
        "hooks: {BeforeInstall: x}",
        "permissions: {object: /a}",
    ] {
        assert_eq!(reading(bad).spec, None, "{bad}");
    }
}

#[test]
fn several_mistakes_are_found_at_once() {
    let reading = reading("files:\n  - destination: /a\n  - source: b\nhooks:\n  BeforeInstall:\n    - timeout: 0\n");
    let expected = [Code::MissingSource, Code::MissingDestination, Code::MissingLocation, Code::InvalidTimeout];
    assert_eq!(codes(&reading), expected);
    assert_eq!(reading.spec, None);
}

#[test]
fn the_number_of_diagnostics_is_bounded_and_an_error_among_those_left_out_counts() {
    let body = format!("a: 1\nb: 1\nfiles:\n{}", "  - source: x\n".repeat(500));
    let limits = Limits { diagnostics: 2, ..Limits::default() };
    let reading = read("appspec.yml", format!("version: 0.0\nos: linux\n{body}").as_bytes(), &limits);
    assert_eq!(codes(&reading), [Code::UnknownKey, Code::UnknownKey]);
    assert!(reading.diagnostics[1].message.ends_with("(and 500 more findings, which are left out)"));
    assert_eq!(reading.spec, None);
}

#[test]
fn the_extension_is_read_into_types() {
    let spec = spec(
        r#"
hooks:
  ApplicationStart:
    - location: scripts/start.sh
    - location: scripts/other.sh
hostler:
  install: {recheck_after: BeforeInstall}
  environment: {STAGE: prod, WORKERS: 4}
  secrets:
    DB: ssm:/app/db:3
    KEY: secretsmanager:app/key#private@AWSPREVIOUS
  hooks:
    ApplicationStart:
      ./scripts/start.sh:
        repeatable: true
        leader_only: true
        limits: {tasks_max: 64, memory_max: 512M}
        environment: {STAGE: test}
        secrets: [DB]
  health:
    - http: {url: "http://127.0.0.1:8080/health", status: 204}
      interval: 10s
      deadline: 2m
    - name: port
      tcp: localhost:5432
    - command: {location: scripts/check.sh, runas: web}
    - unit: web.service
  traffic:
    method: target-groups
    target_groups: ["arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/1"]
    drain_timeout: 60
"#,
    );
    let options = HookOptions {
        repeatable: true,
        leader_only: true,
        tasks_max: Some(64),
        memory_max: Some(512 << 20),
        environment: vec![("STAGE".into(), "test".into()), ("WORKERS".into(), "4".into())],
        secrets: vec!["DB".into()],
    };
    let scripts = spec.scripts("ApplicationStart");
    let extension = &spec.extension;
    let others = HookOptions { environment: extension.environment.clone(), ..HookOptions::default() };
    assert_eq!((&scripts[0].options, &scripts[1].options), (&options, &others));
    assert!(extension.recheck_after_before_install);
    assert_eq!(extension.environment, [("STAGE".into(), "prod".into()), ("WORKERS".into(), "4".into())]);
    assert_eq!(
        extension.secrets[0].reference,
        SecretReference::Parameter { name: "/app/db".into(), version: Some("3".into()) }
    );
    assert_eq!(
        extension.secrets[1].reference,
        SecretReference::Secret {
            id: "app/key".into(),
            json_key: Some("private".into()),
            version: Some("AWSPREVIOUS".into())
        }
    );
    let [http, tcp, command, unit] = extension.health.as_slice() else { panic!("{extension:?}") };
    assert_eq!(
        http.check.probe,
        Probe::Http(HttpProbe {
            url: "http://127.0.0.1:8080/health".into(),
            status: Some(204),
            ..HttpProbe::default()
        })
    );
    assert_eq!(
        (http.check.name.as_str(), http.check.interval_seconds, http.check.deadline_seconds),
        ("http://127.0.0.1:8080/health", 10, 120)
    );
    assert_eq!((tcp.check.name.as_str(), &tcp.check.probe), ("port", &Probe::Tcp { address: "localhost:5432".into() }));
    assert_eq!(command.check.probe, Probe::Command { location: "scripts/check.sh".into(), runas: Some("web".into()) });
    assert_eq!(unit.check.probe, Probe::Unit { unit: "web.service".into() });
    assert_eq!(extension.traffic.method, Some(TrafficMethod::TargetGroups));
    assert_eq!((extension.traffic.drain_timeout_seconds, extension.traffic.healthy_timeout_seconds), (60, 300));
}

#[test]
fn a_bad_extension_is_refused() {
    for bad in [
        "environment: [a]",
        "environment: {1A: x}",
        "environment: {A: }",
        "secrets: {A: plain}",
        "secrets: {A: 'ssm:'}",
        "install: {recheck_after: AfterInstall}",
        "hooks: {BeforeInstall: {a: {repeatable: maybe}}}",
        "hooks: {BeforeInstall: {a: {limits: {tasks_max: 0}}}}",
        "hooks: {BeforeInstall: {a: {limits: {memory_max: 1.5G}}}}",
        "hooks: {BeforeInstall: {a: {secrets: [UNDECLARED]}}}",
        "health: {http: {url: 'http://x'}}",
        "health: [{tcp: 'a:1', unit: b}]",
        "health: [{tcp: a}]",
        "health: [{http: {url: 'ftp://x'}}]",
        "health: [{http: {url: 'http://x', status: 99}}]",
        "health: [{unit: a, interval: 31d}]",
        "traffic: {method: dns}",
        "traffic: {target_groups: [web]}",
        "traffic: {drain_timeout: 99999999999999999999}",
        "unknown: 1",
    ] {
        assert_eq!(
            reading(&format!("hooks:\n  BeforeInstall:\n    - location: a\nhostler:\n  {bad}\n")).spec,
            None,
            "{bad}"
        );
    }
    assert_eq!(reading("hostler: text").spec, None);
    assert_eq!(spec("hostler:\n").extension, Default::default());
}

#[test]
fn values_of_the_extension_are_written_as_in_the_configuration() {
    let spec = spec(
        "hooks:
  BeforeInstall:
    - location: a
    - location: b
hostler:
  bake_time: 1h30m
  hooks:
    BeforeInstall:
      a: {repeatable: \"true\", limits: {memory_max: 2GiB, tasks_max: 064}}
      b: {repeatable: yes, secrets: S}
  secrets: {S: 'ssm:/s'}
  health:
    - {unit: a, interval: 1d, timeout: 090s}
",
    );
    let [a, b] = spec.scripts("BeforeInstall") else { panic!("{spec:?}") };
    assert_eq!((a.options.repeatable, a.options.memory_max, a.options.tasks_max), (true, Some(2 << 30), Some(64)));
    assert_eq!((b.options.repeatable, b.options.secrets.as_slice()), (true, &["S".to_owned()][..]));
    let [health] = spec.extension.health.as_slice() else { panic!("{spec:?}") };
    assert_eq!((health.check.interval_seconds, health.check.timeout_seconds), (86_400, 90));
    assert_eq!(spec.extension.bake_seconds, Some(5400));
}

#[test]
fn a_wrong_value_is_shown_with_what_is_expected_and_a_remedy() {
    for (text, message, help) in [
        ("bake_time: soon", "`bake_time` must be a duration from 1s to 30d, not `soon`", "`1h30m`"),
        ("health: [{unit: a, interval: [1s]}]", "`interval` must be a duration from 1s to 30d, not a list", "`5m`"),
        (
            "hooks: {BeforeInstall: {a: {limits: {memory_max: 2g}}}}",
            "`memory_max` must be a size from 1 byte, not `2g`",
            "`2G`",
        ),
        (
            "traffic: {method: stanby}",
            "must be standby, target-groups or none, not `stanby`",
            "did you mean `standby`?",
        ),
        ("environment: [A]", "`environment` must be keys with values, not a list", "indented"),
        ("health: {unit: a}", "`health` must be a list of checks, not a mapping", "- http:"),
    ] {
        let reading = reading(&format!("hooks:\n  BeforeInstall:\n    - location: a\nhostler:\n  {text}\n"));
        let wrong = reading.diagnostics.iter().find(|found| found.code == Code::InvalidExtension);
        let wrong = wrong.unwrap_or_else(|| panic!("{text}: {reading:?}"));
        assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        assert!(wrong.help.as_deref().unwrap().contains(help), "{text}: {wrong:?}");
    }
}

#[test]
fn secrets_are_not_repeated_in_diagnostics() {
    let body =
        "hostler:\n  environment: {DB_PASSWORD: hunter2, URL: 'postgres://u:hunter2@h/db'}\n  secrets: {A: hunter2}\n";
    let reading = reading(body);
    assert_eq!(codes(&reading).iter().filter(|code| **code == Code::PlainSecret).count(), 2);
    assert!(!serde_json::to_string(&reading.diagnostics).unwrap().contains("hunter2"));
    let rendered = diagnose::render(&reading.diagnostics, &format!("version: 0.0\nos: linux\n{body}"));
    assert!(rendered.contains("DB_PASSWORD") && !rendered.contains("hunter2"), "{rendered}");
}

#[test]
fn json_with_tabs_and_crlf_is_an_appspec_too() {
    let text = "{\r\n\t\"version\": 0.0,\r\n\t\"os\": \"linux\",\r\n\t\"files\": [{\"source\": \"/\", \"destination\": \"/srv\"}]\r\n}\r\n";
    assert_eq!(read("appspec.json", text.as_bytes(), &Limits::default()).spec.unwrap().files.len(), 1);
}

#[test]
fn slips_behind_syntax_errors_are_named() {
    for (body, help) in [
        ("files:\n\t- source: /\n\t  destination: /srv\n", "no tabs"),
        ("permissions:\n  - object: /srv\n    pattern: **\n", "quote a value that begins with `*`"),
        (
            "hooks:\n  BeforeInstall:\n    - location:a.sh\n      runas: root\n",
            "a space after the colon: `location: a.sh`",
        ),
        ("@'\nhooks: {\n", "here-string"),
        ("hooks: [\n", "indentation and the quotes"),
    ] {
        let reading = reading(body);
        let [diagnostic] = reading.diagnostics.as_slice() else { panic!("{reading:?}") };
        assert_eq!(diagnostic.code, Code::YamlSyntax, "{body}");
        assert!(diagnostic.help.as_deref().unwrap().contains(help), "{body}: {diagnostic:?}");
    }
}

#[test]
fn the_schema_for_editors_knows_the_same_keys() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../../packaging/schema/appspec.schema.json")).unwrap();
    let known = |pointer: &str| -> BTreeSet<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("the schema has no {pointer}"));
        object.as_object().unwrap().keys().cloned().collect()
    };
    let hostler = "/properties/hostler/properties";
    let options = format!("{hostler}/hooks/additionalProperties/additionalProperties");
    for (pointer, keys) in [
        ("/properties".to_owned(), keys::TOP),
        ("/properties/files/items/properties".to_owned(), keys::FILE),
        ("/$defs/script/properties".to_owned(), keys::SCRIPT),
        ("/properties/permissions/items/properties".to_owned(), keys::PERMISSION),
        ("/properties/permissions/items/properties/context/properties".to_owned(), keys::CONTEXT),
        ("/properties/hooks/properties".to_owned(), keys::EVENTS),
        (hostler.to_owned(), keys::EXTENSION),
        (format!("{hostler}/install/properties"), keys::INSTALL),
        (format!("{options}/properties"), keys::HOOK_OPTIONS),
        (format!("{options}/properties/limits/properties"), keys::HOOK_LIMITS),
        (format!("{hostler}/health/items/properties"), keys::HEALTH),
        (format!("{hostler}/health/items/properties/http/properties"), keys::HEALTH_HTTP),
        (format!("{hostler}/health/items/properties/command/properties"), keys::HEALTH_COMMAND),
        (format!("{hostler}/health/items/properties/process/properties"), keys::HEALTH_PROCESS),
        (format!("{hostler}/traffic/properties"), keys::TRAFFIC),
    ] {
        assert_eq!(known(&pointer), keys.iter().map(|key| (*key).to_owned()).collect(), "{pointer}");
        // Below `hostler` the schema is as strict as the parser; above, unknown keys are only warned of.
        if let Some(parent) = pointer.strip_suffix("/properties").filter(|_| pointer.starts_with("/properties/hostler"))
        {
            assert_eq!(schema.pointer(parent).unwrap()["additionalProperties"], false, "{parent}");
        }
    }
}

#[test]
fn the_names_of_an_appspec_are_tried_once_each() {
    assert_eq!(AppspecName::or_usual(None).candidates(), ["appspec.yml", "appspec.yaml"]);
    assert_eq!(AppspecName::or_usual(Some("")).candidates(), ["appspec.yml", "appspec.yaml"]);
    assert_eq!(
        AppspecName::or_usual(Some("deploy/spec.yml")).candidates(),
        ["deploy/spec.yml", "appspec.yml", "appspec.yaml"]
    );
    assert_eq!(AppspecName::or_usual(Some("appspec.yaml")).candidates(), ["appspec.yaml", "appspec.yml"]);
    // A name for one deployment allows no other file.
    assert_eq!(AppspecName::only(Some("appspec.yaml")).candidates(), ["appspec.yaml"]);
    assert_eq!(AppspecName::only(None).candidates(), ["appspec.yml", "appspec.yaml"]);
    assert_eq!(AppspecName::only(Some("")).candidates(), ["appspec.yml", "appspec.yaml"]);
}

/// The whole grammar, as a seed for mangling.
const SEED: &str = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/ä\nfile_exists_behavior: RETAIN\npermissions:\n  - object: /srv\n    pattern: '*.sh'\n    except: [a]\n    type: [file]\n    mode: 0644\n    acls: ['d:u:x:rw']\n    context: {type: t, range: 's0-s1:c0.c3'}\nhooks:\n  BeforeInstall: &a\n    - location: a.sh\n      timeout: 1:30\n      runas: web\n  AfterInstall: *a\nhostler:\n  secrets: {A: 'ssm:/a:1'}\n  hooks: {BeforeInstall: {a.sh: {limits: {memory_max: 1G}}}}\n  health: [{http: {url: 'http://x'}, interval: 5m}]\n";

/// Reads and renders; the callers look for panics.
fn survives(bytes: &[u8], limits: &Limits) -> Reading {
    let reading = read("appspec.yml", bytes, limits);
    let rendered = diagnose::render(&reading.diagnostics, &String::from_utf8_lossy(bytes));
    assert_eq!(rendered.is_empty(), reading.diagnostics.is_empty());
    assert!(!rendered.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{rendered:?}");
    assert!(rendered.len() < 1_000_000, "{} bytes for {} findings", rendered.len(), reading.diagnostics.len());
    let has_error = reading.diagnostics.iter().any(|d| d.severity == diagnose::Severity::Error);
    assert!(reading.diagnostics.len() >= limits.diagnostics || reading.spec.is_none() == has_error, "{reading:?}");
    reading
}

proptest! {
    #[test]
    fn mangled_bytes_are_read_or_refused(
        edits in prop::collection::vec((0..SEED.len(), prop_oneof![any::<u8>(), prop::sample::select(&b"\n\r\t :-[]{}#&*!|>'\"%~0\xef\xbb\xbf"[..])], 0..3_u8), 1..12)
    ) {
        let mut bytes = SEED.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.min(bytes.len().saturating_sub(1));
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        survives(&bytes, &Limits::default());
    }

    #[test]
    fn any_short_value_is_read_or_refused(value in "[-+0-9.:,_exaEob~nulyesof \\[\\]{}'\"|>&*!#%@\\\\\u{a0}\u{2028}ä]{0,12}", key in 0..30_usize) {
        let places = [
            "version: V", "os: V", "files: V", "files: [V]", "files:\n  - source: V\n    destination: V", "file_exists_behavior: V", "permissions: V",
            "permissions:\n  - object: V\n    mode: V\n    type: V", "permissions:\n  - object: a\n    acls: [V]\n    owner: V",
            "permissions:\n  - object: a\n    context: {type: V, range: V}", "permissions:\n  - object: a\n    context: V\n    except: V",
            "hooks: V", "hooks:\n  BeforeInstall: V", "hooks:\n  BeforeInstall:\n  - V", "hooks:\n  BeforeInstall:\n  - location: V\n    timeout: V\n    runas: V\n    sudo: V",
            "hostler: V", "hostler: {install: V}", "hostler: {environment: {A: V}, secrets: {B: V}}", "hostler: {health: [V]}", "hostler: {health: [{tcp: V}]}",
            "hostler: {hooks: {A: {b: {limits: {tasks_max: V, memory_max: V}}}}}", "hostler: {traffic: {method: V, drain_timeout: V}}",
        ];
        let body = places[key % places.len()].replace('V', &value);
        survives(format!("version: 0.0\nos: linux\n{body}\n").as_bytes(), &Limits::default());
    }
}

#[test]
fn every_prefix_of_a_file_is_read_or_refused() {
    for end in 0..SEED.len() {
        survives(&SEED.as_bytes()[..end], &Limits::default());
    }
    assert!(survives(SEED.as_bytes(), &Limits::default()).spec.is_some());
}

#[test]
fn large_files_of_the_worst_kinds_end_soon() {
    // Large enough to make a quadratic step noticeable, small enough for a test without optimisation.
    let limits = Limits { appspec_bytes: 32 << 10, ..Limits::default() };
    let size = limits.appspec_bytes - 100;
    let head = "version: 0.0\nos: linux\n";
    let repeated =
        |body: &str, unit: &str| format!("{head}{body}{}", unit.repeat((size - head.len() - body.len()) / unit.len()));
    for text in [
        repeated("files:\n", "- {source: a, destination: /}\n"),
        repeated("files:\n", "- a\n"),
        repeated("hooks:\n  BeforeInstall:\n", "  - {location: a}\n"),
        repeated("permissions:\n", "- {object: /a, mode: 0}\n"),
        repeated("x: &a {location: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\nhooks:\n  BeforeInstall: [", "*a,"),
        repeated("version:", ":"),
        repeated("", "'"),
        repeated("", "? "),
        repeated("x: ", "x"),
        repeated("x: \"", "\\u00e4"),
        repeated("", "\r"),
        repeated("", "a b: c\r\n"),
    ] {
        survives(text.as_bytes(), &limits);
    }
    // As many options as scripts, all of one event.
    let scripts: String = (0..2000).map(|n| format!("  - location: s{n}\n")).collect();
    let options: String = (0..2000).map(|n| format!("      s{n}: {{repeatable: true}}\n")).collect();
    let text = format!("{head}hooks:\n  BeforeInstall:\n{scripts}hostler:\n  hooks:\n    BeforeInstall:\n{options}");
    let spec = survives(text.as_bytes(), &Limits::default()).spec.unwrap();
    assert!(spec.scripts("BeforeInstall").iter().all(|script| script.options.repeatable));
}

#[test]
fn a_timeout_with_a_unit_is_told_in_both_meanings() {
    let help = |timeout: &str| {
        let reading = reading(&format!("hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: {timeout}\n"));
        assert_eq!(codes(&reading), [Code::AmbiguousTimeout]);
        reading.diagnostics[0].help.clone().unwrap()
    };
    assert_eq!(help("5m"), "write `timeout: 5` if that is meant, or `timeout: 300` for `5m`");
    assert_eq!(help("30s"), "write `timeout: 30` if that is meant");
}
