//! What the packages install beside the program: manual pages and completions for shells.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::host::HOSTLER;
use crate::support::skip;

fn hostler(arguments: &[&str]) -> String {
    let output = Command::new(HOSTLER).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs that the help shows.
fn verbs() -> BTreeSet<String> {
    let help = hostler(&["--help"]);
    let verbs = help.lines().take_while(|line| *line != "Options:").filter(|line| line.starts_with("  "));
    let mut verbs: BTreeSet<_> = verbs.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(verbs.remove("help") && verbs.len() > 20, "{verbs:?}");
    verbs
}

fn page(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_verb_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    hostler(&["man-pages", directory.path().to_str().unwrap()]);
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_verbs = verbs().into_iter().map(|verb| format!("hostler-{verb}.1"));
    let others = ["hostler.1", "hostler.yaml.5", "hostler-appspec.5"].map(str::to_owned);
    let expected: BTreeSet<_> = of_verbs.chain(others).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
    let program = page(directory.path(), "hostler.1");
    for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "\"EXIT CODES\"", "FILES"] {
        assert!(program.contains(&format!(".SH {heading}\n")), "{heading} is not in\n{program}");
    }
    let deploy = page(directory.path(), "hostler-deploy.1");
    let title = concat!(".TH hostler-deploy 1 \"\" \"hostler ", env!("CARGO_PKG_VERSION"), "\" hostler\n");
    assert!(deploy.starts_with(title), "{deploy}");
    for (name, texts) in [
        ("hostler.yaml.5", ["\\fBpoll\\fR", "groups[].traffic", "Default: \\fB60s\\fR."]),
        ("hostler-appspec.5", ["\\fBlocation\\fR", "hostler.health[].http", "Required."]),
    ] {
        let page = page(directory.path(), name);
        assert!(page.starts_with(&format!(".TH {} 5 \"\" ", name.trim_end_matches(".5"))), "{page}");
        texts.iter().for_each(|text| assert!(page.contains(text), "{text} is not in\n{page}"));
    }
    // A flag of its own, one of all verbs, and the way to the rest.
    for text in ["no\\-rollback", "state\\-dir", ".SH EXAMPLES", "hostler(1)"] {
        assert!(deploy.contains(text), "{text} is not in\n{deploy}");
    }
}

#[test]
fn the_formatter_warns_of_nothing_in_a_manual_page() {
    let groff = |page: &Path| Command::new("groff").args(["-k", "-man", "-Tutf8", "-ww", "-z"]).arg(page).output();
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong.1");
    fs::write(&wrong, ".TH wrong 1\n.SH NAME\n.no-such-request\n").unwrap();
    let Ok(warned) = groff(&wrong) else {
        skip("groff is missing (Debian package groff-base)");
        return;
    };
    let said = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said(warned).contains("no-such-request"));
    fs::remove_file(&wrong).unwrap();
    hostler(&["man-pages", directory.path().to_str().unwrap()]);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(said(groff(&path).unwrap()), "", "{}", path.display());
    }
}

/// What bash offers for the last of the words.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), hostler(&["completions", "bash"])).unwrap();
    let complete = r#"
        . "$0"
        complete -p hostler >/dev/null
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _hostler "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash").args(["-ec", complete]).arg(script.path()).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_flags_and_values() {
    assert_eq!(offered(&["hostler", "sta"]), ["status".to_owned()].into());
    assert_eq!(offered(&["hostler", "status", "--he"]), ["--health", "--help"].map(str::to_owned).into());
    assert_eq!(offered(&["hostler", "completions", "f"]), ["fish".to_owned()].into());
    assert!(offered(&["hostler", ""]).is_superset(&verbs()));
}

#[test]
fn the_other_shells_know_every_verb() {
    for shell in ["zsh", "fish"] {
        let script = hostler(&["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell} does not know {verb}");
        }
    }
}
