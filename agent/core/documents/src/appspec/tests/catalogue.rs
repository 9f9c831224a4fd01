//! Every kind of finding once, in its text form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::lint::{HostKnowledge, host_questions, lint_archive, lint_bundle, lint_host};
use super::*;
use crate::bundle::{Adaptation, Adapted, BundleEntry, BundleListing, BundlePath, EntryKind};
use crate::golden::assert_golden;

const DIRECTORY: &str = "a directory";

/// An appspec, its bundle, and the host's missing users, groups and programs.
struct Case {
    code: Code,
    text: &'static [u8],
    bundle: &'static [(&'static str, u32, &'static str)],
    host_lacks: &'static [&'static str],
}

const fn alone(code: Code, text: &'static str) -> Case {
    Case { code, text: text.as_bytes(), bundle: &[], host_lacks: &[] }
}

const fn with(code: Code, text: &'static str, bundle: &'static [(&'static str, u32, &'static str)]) -> Case {
    Case { code, text: text.as_bytes(), bundle, host_lacks: &[] }
}

const START: &str = "version: 0.0\nos: linux\nhooks:\n  ApplicationStart:\n    - location: scripts/start.sh\n      timeout: 60\n      runas: web\n";
const FILES: &str = "version: 0.0\nos: linux\nfiles:\n  - source: conf/app.conf\n    destination: /etc/app/app.conf\n";

const LATER: &str = "version: 0.0\nos: linux\nfiles:\n  - source: secrets.env\n    destination: /etc/app\nhooks:\n  BeforeInstall:\n    - location: make.sh\n  ApplicationStart:\n    - location: made.sh\nhostler:\n  install: {recheck_after: BeforeInstall}\n";

const CASES: &[Case] = &[
    alone(Code::TooLarge, "version: 0.0\n# and more bytes than the test allows\n#################################################################\n#################################################################\n#################################################################\n#################################################################\n#################################################################\n#################################################################\n#################################################################\n"),
    Case { code: Code::NotUtf8, text: b"version: 0.0\nos: linux\nhooks:\n  BeforeInstall:\n    - location: scripts/d\xe9but.sh\n", bundle: &[], host_lacks: &[] },
    alone(Code::YamlSyntax, "version: 0.0\nos: linux\nhooks:\n  BeforeInstall:\n    - location: a.sh\n      timeout: 300\n      runas:root\n    - location: b.sh\n"),
    alone(Code::YamlLimit, "version: 0.0\nos: linux\na: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]\n"),
    alone(Code::UnknownTag, "version: 0.0\nos: linux\nfiles: !!set\n  ? {source: app, destination: /srv}\n"),
    alone(Code::Empty, "# nothing but a comment\n"),
    alone(Code::WrongType, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    -location: scripts/start.sh\n"),
    alone(Code::UnsupportedVersion, "version: \"0.0\"\nos: linux\n"),
    alone(Code::MisspeltKey, "version: 0.0\nos: linux\nfile:\n  - source: /\n    destination: /srv\n"),
    alone(Code::MisspeltEvent, "version: 0.0\nos: linux\nhooks:\n  ApplicatiionStart:\n    - location: start.sh\n"),
    alone(Code::NotForHosts, "version: 0.0\nResources:\n  - TargetService:\n      Type: AWS::ECS::Service\n"),
    alone(Code::WindowsAppspec, "version: 0.0\nos: windows\n"),
    alone(Code::UnsupportedOs, "version: 0.0\nos: ubuntu\n"),
    alone(Code::MissingSource, "version: 0.0\nos: linux\nfiles:\n  - destination: /srv/app\n"),
    alone(Code::MissingDestination, "version: 0.0\nos: linux\nfiles:\n  - source: index.html\n"),
    alone(Code::LeavesBundle, "version: 0.0\nos: linux\nfiles:\n  - source: a/../../outside.txt\n    destination: /srv/app\n"),
    alone(Code::InvalidFileExistsBehavior, "version: 0.0\nos: linux\nfile_exists_behavior: overwrite\n"),
    alone(Code::MissingLocation, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - timeout: 30\n"),
    alone(Code::InvalidTimeout, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: forever\n"),
    alone(Code::MissingObject, "version: 0.0\nos: linux\npermissions:\n  - mode: 644\n"),
    alone(Code::InvalidObjectType, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    type: [files]\n"),
    alone(Code::InvalidMode, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    mode: 0o644\n"),
    alone(Code::InvalidAcl, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    acls:\n      - u::rwx\n      - d:u:deploy:extra:rwx\n"),
    alone(Code::InvalidContext, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    context: {type: bin_t, range: s2-s1}\n"),
    alone(Code::UnknownExtensionKey, "version: 0.0\nos: linux\nhostler:\n  instal: {recheck_after: BeforeInstall}\n"),
    alone(Code::InvalidExtension, "version: 0.0\nos: linux\nhostler:\n  traffic: {method: dns}\n"),
    with(Code::SourceAbsent, "version: 0.0\nos: linux\nfiles:\n  - source: Conf/app.conf\n    destination: /etc/app\n", &[("conf/app.conf", 0o644, "x")]),
    with(Code::ScriptAbsent, "version: 0.0\nos: linux\nhooks:\n  ApplicationStart:\n    - location: scripts/start.sh --now\n", &[("scripts/start.sh", 0o755, "#!/bin/sh\n")]),
    with(Code::ScriptHasCarriageReturns, START, &[("scripts/start.sh", 0o755, "#!/bin/bash\r\nsystemctl start web\r\n")]),
    with(Code::SourceMadeLater, LATER, &[("make.sh", 0o755, "#!/bin/sh\n")]),
    with(Code::ScriptMadeLater, LATER, &[("make.sh", 0o755, "#!/bin/sh\n"), ("secrets.env", 0o600, "x")]),
    with(Code::Leftovers, FILES, &[("conf/app.conf", 0o644, "x"), (".git/HEAD", 0o644, "x"), (".git/config~", 0o644, "x"), (".gitignore", 0o644, "x"), ("conf/.app.conf.swp", 0o600, "x"), ("conf/._app.conf", 0o644, "x"), ("conf/#app.conf#", 0o644, "x"), ("node_modules/.cache/x", 0o644, "x"), ("node_modules/a.js", 0o644, "x")]),
    alone(Code::ByteOrderMark, "\u{feff}version: 0.0\nos: linux\n"),
    alone(Code::Aliases, "version: 0.0\nos: linux\nhooks:\n  BeforeInstall: &steps\n    - location: a.sh\n  AfterInstall: *steps\n"),
    alone(Code::KeyBeforeMerge, "version: 0.0\nos: linux\nhooks:\n  BeforeInstall:\n    - &long {location: a.sh, timeout: 60}\n  AfterInstall:\n    - timeout: 5\n      <<: *long\n"),
    alone(Code::DuplicateKey, "version: 0.0\nos: linux\nfiles:\n  - source: bin\n    destination: /srv/one\n    destination: /srv/two\n"),
    alone(Code::KeyIsNotText, "version: 0.0\nos: linux\n{a: b}: c\n"),
    alone(Code::AnotherDocument, "version: 0.0\nos: linux\n---\nversion: 1.0\n"),
    alone(Code::UnknownKey, "version: 0.0\nos: linux\ndescription: the web server\n"),
    alone(Code::WithoutEffect, "version: 0.0\nos: linux\nhostler:\n  traffic: {method: standby}\n"),
    alone(Code::MisplacedEvent, "version: 0.0\nos: linux\nhooks:\nApplicationStart:\n  - location: start.sh\n"),
    alone(Code::MisplacedPermission, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv\n    owner: web\n"),
    alone(Code::OverwriteIgnored, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv\n    overwrite: true\n"),
    alone(Code::UnknownEvent, "version: 0.0\nos: linux\nhooks:\n  ApplicationRestart:\n    - location: start.sh\n"),
    alone(Code::EventHasNoHooks, "version: 0.0\nos: linux\nhooks:\n  Install:\n    - location: install.sh\n"),
    alone(Code::LookalikeCharacter, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: “start.sh”\n"),
    alone(Code::KeyInValue, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: start.sh\n        runas:root\n"),
    alone(Code::RelativeDestination, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: srv/app\n"),
    alone(Code::NotExpanded, "version: 0.0\nos: linux\nfiles:\n  - source: build/*.jar\n    destination: ~/app\n"),
    alone(Code::NestedDestination, "version: 0.0\nos: linux\nfiles:\n  - source: conf\n    destination: /srv/app/conf\n  - source: app\n    destination: /srv/app/\npermissions:\n  - object: /srv/app\n    mode: 644\n"),
    with(Code::DestinationRepeatsName, FILES, &[("conf/app.conf", 0o644, "x")]),
    alone(Code::AmbiguousMode, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    mode: 0644\n  - object: /opt\n    mode: 0755\n"),
    alone(Code::AmbiguousTimeout, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 1:30\n"),
    alone(Code::LongTimeout, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 7200\n"),
    alone(Code::UnlikelyUser, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n      runas: ec2-user || true\n"),
    alone(Code::AmbiguousSudo, "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: a.sh\n      sudo: 'false'\n"),
    alone(Code::OwnerByNumber, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    owner: 1000\n"),
    alone(Code::PatternMatchesNothing, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    pattern: '**/*.py'\n    except: [/srv/bin]\n"),
    with(Code::PermissionMatchesNothing, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\npermissions:\n  - object: /var/www\n    mode: 644\n", &[("index.html", 0o644, "x")]),
    alone(Code::DefaultAclOnFiles, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    acls: ['d:u:deploy:rwx']\n"),
    alone(Code::ContextDiffers, "version: 0.0\nos: linux\npermissions:\n  - object: /srv\n    context: {user: system_u, type: bin_t}\n"),
    alone(Code::PlainSecret, "version: 0.0\nos: linux\nhostler:\n  environment:\n    DB_PASSWORD: hunter2\n"),
    alone(Code::OptionsWithoutHook, "version: 0.0\nos: linux\nhostler:\n  hooks:\n    BeforeInstall:\n      a.sh: {repeatable: true}\n"),
    with(Code::ScriptNotExecutable, START, &[("scripts/start.sh", 0o644, "#!/bin/sh\n")]),
    with(Code::ScriptWithoutInterpreter, START, &[("scripts/start.sh", 0o755, "systemctl start web\n")]),
    with(Code::ArgumentHasCarriageReturn, START, &[("scripts/start.sh", 0o755, "#!/bin/bash -e\r\nsystemctl start web\r\n")]),
    with(Code::ScriptEmpty, START, &[("scripts/start.sh", 0o755, "")]),
    with(Code::BackgroundKeepsOutput, START, &[("scripts/start.sh", 0o755, "#!/bin/bash\ncd /srv/app && true\nnohup java \\\n  -jar app.jar &\n")]),
    Case { code: Code::InterpreterMissing, text: START.as_bytes(), bundle: &[("scripts/start.sh", 0o755, "#!/usr/bin/env -S python4 -u\n")], host_lacks: &["python4"] },
    Case { code: Code::UserUnknown, text: START.as_bytes(), bundle: &[("scripts/start.sh", 0o755, "#!/bin/sh\n")], host_lacks: &["web"] },
    Case { code: Code::GroupUnknown, text: b"version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv\npermissions:\n  - object: /srv\n    group: web\n", bundle: &[("a", 0o644, "x")], host_lacks: &["web"] },
];

fn entry(path: &str, mode: u32, kind: EntryKind) -> BundleEntry {
    BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode }
}

fn listing(files: &[(&str, u32, &str)]) -> BundleListing {
    let mut entries = Vec::new();
    let mut parents = BTreeSet::new();
    for (path, mode, content) in files {
        for parent in std::path::Path::new(path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if parents.insert(parent.to_owned()) {
                entries.push(entry(parent.to_str().unwrap(), 0o755, EntryKind::Directory));
            }
        }
        let kind = if *content == DIRECTORY {
            EntryKind::Directory
        } else {
            EntryKind::File { size: content.len().try_into().unwrap() }
        };
        entries.push(entry(path, *mode, kind));
    }
    BundleListing::new(entries)
}

fn findings(case: &Case) -> Vec<Diagnostic> {
    let limits = Limits { appspec_bytes: 512, yaml_nodes: 200, ..Limits::default() };
    let Reading { spec, mut diagnostics } = read("appspec.yml", case.text, &limits);
    let Some(spec) = spec else { return diagnostics };
    let heads: BTreeMap<PathBuf, Vec<u8>> =
        case.bundle.iter().map(|(path, _, content)| (PathBuf::from(path), content.as_bytes().to_vec())).collect();
    if !case.bundle.is_empty() {
        diagnostics.extend(lint_bundle("appspec.yml", &spec, &listing(case.bundle), &heads, &limits));
    }
    let questions = host_questions(&spec, &heads);
    let answer = |names: BTreeSet<String>| {
        names.into_iter().map(|name| (name.clone(), !case.host_lacks.contains(&name.as_str()))).collect()
    };
    let knowledge = HostKnowledge {
        users: answer(questions.users),
        groups: answer(questions.groups),
        interpreters: answer(questions.interpreters),
    };
    diagnostics.extend(lint_host("appspec.yml", &spec, &heads, &knowledge, &limits));
    diagnostics
}

#[test]
fn each_kind_of_finding_is_shown_with_its_place_and_what_to_do() {
    for case in CASES {
        let findings = findings(case);
        assert!(findings.iter().any(|finding| finding.code == case.code), "{}: {findings:#?}", case.code.name());
        let source = String::from_utf8_lossy(case.text);
        assert_golden(&format!("appspec/{}", case.code.name()), &diagnose::render(&findings, &source));
    }
}

/// Findings that appear only while a bundle is unpacked.
const OF_ARCHIVES: &[(Code, Adaptation)] = &[
    (Code::LeadingSlash, Adaptation::LeadingSlash),
    (Code::CapabilitiesLeftOut, Adaptation::Capabilities),
    (Code::OwnersLeftOut, Adaptation::Owner),
];

#[test]
fn what_was_done_to_entries_is_shown_with_the_first_and_their_number() {
    for (code, how) in OF_ARCHIVES {
        let findings: Vec<Diagnostic> = [1, 12]
            .into_iter()
            .flat_map(|number| lint_archive("bundle", &[Adapted { how: *how, first: "/srv/run".to_owned(), number }]))
            .collect();
        assert!(findings.iter().all(|finding| finding.code == *code), "{findings:#?}");
        assert_golden(&format!("appspec/{}", code.name()), &diagnose::render(&findings, ""));
    }
}

#[test]
fn each_kind_is_in_the_catalogue_once() {
    let shown: Vec<Code> = CASES.iter().map(|case| case.code).collect();
    // The configuration's findings are shown by its own tests.
    let of_appspecs = Code::ALL
        .iter()
        .filter(|code| !code.name().ends_with("configuration") && !code.name().ends_with("configuration-key"))
        .filter(|code| !OF_ARCHIVES.iter().any(|(of_archives, _)| of_archives == *code));
    assert_eq!(shown, of_appspecs.copied().collect::<Vec<_>>());
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}

#[test]
fn a_finding_as_json_has_its_name_severity_and_place() {
    let finding = &reading("hooks: []\n").diagnostics[0];
    assert_eq!(
        serde_json::to_value(finding).unwrap(),
        serde_json::json!({
            "code": "wrong-type",
            "severity": "error",
            "file": "appspec.yml",
            "at": {"line": 3, "column": 1, "width": 5},
            "message": "`hooks` is a list, not a mapping of events",
            "help": "write the name of an event and a colon, and its scripts as a list below it",
        })
    );
}

#[test]
fn what_is_right_is_not_warned_of() {
    let case = with(
        Code::Empty,
        "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\n  - source: conf/app.conf\n    destination: /etc/app\npermissions:\n  - object: /srv/app\n    pattern: '*.sh'\n    except: [b*]\n    mode: 755\n    type: [file]\n  - object: /etc/app/app.conf\n    mode: 600\nhooks:\n  ApplicationStart:\n    - location: ./scripts/start.sh\n      timeout: 3600\n      runas: web\n",
        &[
            ("app/run.sh", 0o755, "x"),
            ("conf/app.conf", 0o644, "x"),
            (
                "scripts/start.sh",
                0o755,
                "#!/bin/bash\n# runs it &\njava -jar app.jar > /var/log/app.log 2>&1 &\ntrue && true\nexec 3>&1\n",
            ),
        ],
    );
    assert_eq!(findings(&case), []);
}

#[test]
fn a_carriage_return_is_an_error_where_no_interpreter_can_be_found_and_nowhere_else() {
    let expected = [
        ("#!/bin/sh\r\n", Some(Code::ScriptHasCarriageReturns)),
        ("#! /bin/sh\r\n", Some(Code::ScriptHasCarriageReturns)),
        ("#!/bin/sh\r", Some(Code::ScriptHasCarriageReturns)),
        ("#!/usr/bin/env python3\r\n", Some(Code::ScriptHasCarriageReturns)),
        ("#!/usr/bin/env\r\n", Some(Code::ScriptHasCarriageReturns)),
        ("#!/usr/bin/perl -w\r\n", Some(Code::ArgumentHasCarriageReturn)),
        // env takes it for a blank there.
        ("#!/usr/bin/env -S python3\r\n", None),
        ("#!/bin/sh\n# \r\n", None),
    ];
    let told = expected.map(|(head, _)| {
        let bundle: &'static [_] = Box::leak(Box::new([("scripts/start.sh", 0o755, head)]));
        let diagnostics = findings(&with(Code::Empty, START, bundle));
        (head, diagnostics.iter().map(|found| found.code).find(|code| code.name().contains("carriage")))
    });
    assert_eq!(told, expected);
}

#[test]
fn a_script_that_the_kernel_hands_to_sh_is_told_with_the_reason() {
    let long = |length: usize, rest: &str| format!("#! /{}{rest}", "a".repeat(length));
    let expected = [
        (long(251, "\n"), ""),
        (long(252, "\n"), "longer than the kernel reads"),
        (long(251, " -x"), ""),
        (long(252, " -x\necho\n"), "longer than the kernel reads"),
        // The kernel reads a file that ends there whole.
        (long(251, ""), ""),
        (format!("#!/bin/sh {}\n", "a".repeat(400)), ""),
        ("\u{feff}#!/bin/sh\n".to_owned(), "byte-order mark"),
        ("echo\n".to_owned(), "begin it with"),
    ];
    for (head, told) in expected {
        let head: &'static str = Box::leak(head.into_boxed_str());
        let bundle: &'static [_] = Box::leak(Box::new([("scripts/start.sh", 0o755, head)]));
        let found = findings(&with(Code::Empty, START, bundle));
        let text = found.iter().map(|found| format!("{found:?}")).collect::<String>();
        assert!(text.contains(told) && found.is_empty() == told.is_empty(), "{head:?}: {text}");
    }
}

#[test]
fn what_links_hide_is_not_judged() {
    let mut entries = vec![entry("current", 0o777, EntryKind::Symlink { target: "v1".into() })];
    entries.push(entry("v1", 0o755, EntryKind::Directory));
    let listing = BundleListing::new(entries);
    let spec = spec(
        "files:\n  - source: current/app\n    destination: /srv\nhooks:\n  BeforeInstall:\n    - location: current/a.sh\n",
    );
    assert_eq!(lint_bundle("appspec.yml", &spec, &listing, &BTreeMap::new(), &Limits::default()), []);
}
