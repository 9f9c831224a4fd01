//! `--help` of every verb, as reviewed.

use std::process::Command;

use crate::support::golden;
use crate::support::host::Host;

#[test]
fn help_is_as_it_was_reviewed() {
    let host = Host::new();
    let whole = host.hostler(&["--help"]).with_code(0).out;
    golden("help/hostler.txt", &whole);
    let verbs = whole.lines().take_while(|line| *line != "Options:").filter(|line| line.starts_with("  "));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() >= 12, "{verbs:?}");
    // `help` itself takes no flags.
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        let help = host.hostler(&[verb, "--help"]).with_code(0).out;
        golden(&format!("help/{verb}.txt"), &help);
    }
}

#[test]
fn the_version_is_the_packages() {
    let host = Host::new();
    for asked in ["--version", "version"] {
        let version = host.hostler(&[asked]).with_code(0).out;
        assert_eq!(version, format!("hostler {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn help_of_a_verb_is_found_by_both_ways_of_asking() {
    let said = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hostler")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, help) = said(&["help", "push"]);
    assert_eq!((code, &help), (Some(0), &said(&["push", "--help"]).1));
    assert!(help.contains("Usage: hostler push"), "{help}");
}
