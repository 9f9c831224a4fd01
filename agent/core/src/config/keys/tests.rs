//! The table, the reader, the schema and the reference say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::appspec::diagnose::render;
use crate::config::read;
use crate::config::settings::Settings;
use crate::event_order::LifecycleEvent;
use crate::limits::Limits;
use crate::values::listed;

/// The keys that every entry of a list has, each with a value.
pub(super) fn required(place: &str) -> &'static [(&'static str, &'static str)] {
    match place {
        "groups[]" => &[("application", "shop"), ("group", "production")],
        "logs.files[]" => &[("file", "/var/log/app.log"), ("log_group_name", "/app")],
        "logs.journal[]" => &[("log_group_name", "/app")],
        _ => &[],
    }
}

/// The lines of a place, within all that is around it.
fn around(place: &str, lines: &[String]) -> String {
    if place.is_empty() {
        return lines.iter().map(|line| format!("{line}\n")).collect();
    }
    let (parent, name) = place.rsplit_once('.').unwrap_or(("", place));
    let is_list = name.ends_with("[]");
    let inner: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let lead = match (is_list, index) {
                (true, 0) => "  - ",
                (true, _) => "    ",
                (false, _) => "  ",
            };
            format!("{lead}{line}")
        })
        .collect();
    let mut outer: Vec<String> = required(parent).iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let name = name.trim_end_matches("[]");
    if inner.is_empty() {
        outer.push(format!("{name}: {{}}"));
    } else {
        outer.push(format!("{name}:"));
        outer.extend(inner);
    }
    around(parent, &outer)
}

fn lines_beside(key: &Key) -> Vec<String> {
    let of_entry = required(key.parent()).iter().filter(|(name, _)| *name != key.name());
    let needs = key.needs.lines().map(str::to_owned);
    of_entry.map(|(name, value)| format!("{name}: {value}")).chain(needs).collect()
}

/// A whole configuration with this key.
pub(super) fn document(key: &Key, value: &str) -> String {
    let mut lines = lines_beside(key);
    lines.push(format!("{}: {value}", key.name()));
    around(key.parent(), &lines)
}

/// The same without the key.
fn document_without(key: &Key) -> String {
    let mut lines = lines_beside(key);
    let own = required(key.parent()).iter().find(|(name, _)| *name == key.name());
    lines.extend(own.map(|(name, value)| format!("{name}: {value}")));
    around(key.parent(), &lines)
}

/// A whole configuration with every key of a place that needs no other.
pub(super) fn whole_place(place: &str) -> String {
    let is_simple =
        |key: &&Key| key.needs.is_empty() && !matches!(key.kind, Kind::Section | Kind::OpenSection | Kind::Sections);
    let lines: Vec<String> =
        below(place).filter(is_simple).map(|key| format!("{}: {}", key.name(), key.example)).collect();
    match below(place).next() {
        Some(first) if lines.is_empty() => document(first, first.example),
        _ => around(place, &lines),
    }
}

fn settings(text: &str) -> Result<Settings, String> {
    let files = [("config.yaml".to_owned(), text.to_owned())];
    let read = read(&files, &Limits::default()).map_err(|wrong| render(&wrong, text));
    // No interval and the usual one are the same setting.
    read.map(|read| Settings { poll_seconds: Some(read.poll_seconds()), ..read })
}

#[test]
fn each_example_is_read_and_changes_the_settings() {
    for key in all() {
        let text = document(key, key.example);
        let found = settings(&text).unwrap_or_else(|wrong| panic!("{}:\n{text}\n{wrong}", key.path));
        assert_ne!(Some(found), settings(&document_without(key)).ok(), "{} changes nothing:\n{text}", key.path);
    }
}

#[test]
fn a_default_is_what_holds_without_the_key() {
    let mut checked = 0;
    for key in all() {
        let Usual::Value(value) = key.default else { continue };
        let text = document(key, value);
        assert_eq!(settings(&text), settings(&document_without(key)), "{}:\n{text}", key.path);
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn each_type_is_what_the_reader_takes() {
    for key in all() {
        accepts_only(key, &key.kind);
        let list = settings(&document(key, "[[x]]")).unwrap_err();
        assert!(list.contains("must be"), "{}: {list}", key.path);
    }
}

fn accepts_only(key: &Key, kind: &Kind) {
    let takes = |value: &str| match settings(&document(key, value)) {
        Ok(_) => {}
        Err(wrong) => panic!("{}: {value}: {wrong}", key.path),
    };
    let refuses = |value: &str, words: &str| {
        let wrong = settings(&document(key, value)).unwrap_err();
        assert!(wrong.contains(words), "{}: {value}: {wrong}", key.path);
        assert!(!wrong.contains("invalid digit"), "{wrong}");
    };
    match kind {
        Kind::Boolean => {
            ["true", "'true'", "no", "Off"].iter().for_each(|value| takes(value));
            refuses("maybe", "must be true");
        }
        Kind::Duration(least, most) => {
            takes(&format!("{most}"));
            takes(&spelled_duration(*least));
            refuses(&format!("{}", most + 1), &format!("to {}", spelled_duration(*most)));
            refuses("soon", "`1h30m`");
        }
        Kind::Milliseconds(least, most) => {
            takes(&format!("{least}"));
            takes(&format!("{}s", most / 1000));
            refuses("soon", "milliseconds");
        }
        Kind::Size(least, _) => {
            takes("2G");
            takes("8MiB");
            takes(&format!("{}", (*least).max(1)));
            refuses("much", "must be a size");
        }
        Kind::Whole(least, most) => {
            refuses("-1", "must be");
            [least.checked_sub(1), most.checked_add(1)]
                .iter()
                .flatten()
                .for_each(|number| refuses(&number.to_string(), "must be"));
        }
        Kind::Numbers(numbers) => {
            numbers.iter().for_each(|number| takes(&number.to_string()));
            refuses("31", "must be one of 1, 3");
        }
        Kind::Word(words) => {
            words.iter().for_each(|word| takes(word));
            // Beside another type the reader says both.
            let expected = if key.kind == *kind { listed(words, "or") } else { String::new() };
            refuses("nonsense", &expected);
        }
        Kind::Words(words) => {
            takes(&format!("[{}]", words.join(", ")));
            refuses("[nonsense]", "must be");
        }
        Kind::Path => refuses("relative", "must be an absolute path"),
        Kind::Paths => refuses("[relative]", "must be an absolute path"),
        Kind::Either(one, other) => {
            accepts_only(key, one);
            accepts_only(key, other);
        }
        Kind::Section | Kind::Sections => refuses("nonsense", "must be"),
        Kind::OpenSection => {
            takes("");
            refuses("nonsense", "must be keys with values");
        }
        Kind::Texts | Kind::Text | Kind::Form(_) | Kind::Names | Kind::Checks => {}
    }
}

#[test]
fn the_table_has_each_key_once_and_below_a_section() {
    let mut seen = BTreeSet::new();
    for key in all() {
        assert!(seen.insert(key.path), "{} is there twice", key.path);
        assert!(key.says.ends_with('.') && !key.example.is_empty(), "{}", key.path);
        if key.parent().is_empty() {
            continue;
        }
        let parent = key.parent();
        let holds = |kind: &Kind| match kind {
            Kind::Sections => parent.ends_with("[]"),
            Kind::Section | Kind::OpenSection | Kind::Either(_, Kind::Section) => !parent.ends_with("[]"),
            _ => false,
        };
        let found = all().find(|other| other.path == parent.trim_end_matches("[]"));
        assert!(found.is_some_and(|found| holds(&found.kind)), "{}", key.path);
    }
    assert!(seen.len() > 100, "{}", seen.len());
    assert_eq!(groups::EVENTS, LifecycleEvent::ORDER.each_ref().map(LifecycleEvent::name));
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_or_its_right_place() {
    for (text, help) in [
        ("pol: 5m\n", "did you mean `poll`?"),
        ("max_revisions: 5\n", "`max_revisions` is a key of `groups`"),
        ("groups: [{application: a, group: g, unsafe_paths: warn}]\n", "at the top of the configuration"),
        ("logs: {files: [{file: /a, log_group_name: /a, units: [x]}]}\n", "`units` is a key of `logs.journal`"),
        ("aws: {s3: {style: path}}\n", "the keys are endpoint_url, addressing_style, proxy"),
    ] {
        let wrong = settings(text).unwrap_err();
        assert!(wrong.contains(help), "{text}: {wrong}");
    }
}

/// Names that the reader's sources match on.
#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn matched(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            matched(&path, names);
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if let Some((pattern, _)) = line.trim_start().split_once(" =>").filter(|(p, _)| p.starts_with('"')) {
                names.insert(pattern.trim_matches('"').to_owned());
            }
        }
    }
}

#[test]
fn the_reader_knows_no_key_that_the_table_lacks() {
    let mut names = BTreeSet::new();
    matched(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/input"), &mut names);
    let known: BTreeSet<&str> = all().map(Key::name).chain(["auto", "direct", "from_tags"]).collect();
    let lacking: Vec<&String> = names.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(names.len() > 60 && lacking.is_empty(), "{} names, {lacking:?}", names.len());
}

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a committed file with what the table makes of it.
#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn assert_made(path: &str, make: impl FnOnce(&str) -> String) {
    let kept = std::fs::read_to_string(shipped(path)).unwrap_or_default();
    let found = make(&kept);
    if std::env::var("HOSTLER_GOLDEN").is_ok_and(|wish| wish == "write") {
        return std::fs::write(shipped(path), found).unwrap();
    }
    assert!(kept == found, "{path} differs from the table (HOSTLER_GOLDEN=write writes it)");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn the_schema_for_editors_is_the_tables() {
    let appspec = std::fs::read_to_string(shipped("packaging/schema/appspec.schema.json")).unwrap();
    let appspec = serde_json::from_str(&appspec).unwrap();
    schema::assert_patterns(&appspec);
    let schema = schema::schema(&appspec);
    assert_made("packaging/schema/config.schema.json", |_| {
        format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
    });
}

#[test]
fn the_reference_is_the_tables() {
    const BEGIN: &str =
        "<!-- keys: from the table of keys (agent/core/src/config/keys.rs); a test writes this part -->\n";
    const END: &str = "<!-- keys: end -->\n";
    assert_made("docs/usage/configuration.md", |page| {
        let (before, rest) = page.split_once(BEGIN).expect("the page has the mark of the part's beginning");
        let (_, after) = rest.split_once(END).expect("the page has the mark of the part's end");
        format!("{before}{BEGIN}\n{}{END}{after}", reference::reference())
    });
}

#[test]
fn each_example_of_the_reference_is_a_good_configuration() {
    let places: BTreeSet<&str> = all().map(Key::parent).collect();
    for place in places {
        let text = whole_place(place);
        assert!(settings(&text).is_ok(), "{place}:\n{text}\n{}", settings(&text).unwrap_err());
    }
}
