//! The documents for users: every block of README.md and docs/usage is checked as its label says
//! (docs/development/testing.md#documents).

mod blocks;
mod examples;
mod host;
mod script;

use std::fs;
use std::path::Path;

use self::examples::{Example, Kind};
use crate::support::host::Host;

/// A document.
struct Page {
    /// Its path from the top of the repository.
    name: String,
    text: String,
}

/// The documents for users, by their names.
fn pages() -> Vec<Page> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = vec!["README.md".to_owned()];
    if let Ok(entries) = fs::read_dir(top.join("docs/usage")) {
        let pages = entries.map(|entry| format!("docs/usage/{}", entry.unwrap().file_name().to_str().unwrap()));
        names.extend(pages.filter(|name| name.ends_with(".md")));
    }
    names.sort();
    let read = |name: String| Page { text: fs::read_to_string(top.join(&name)).unwrap(), name };
    names.into_iter().map(read).collect()
}

/// Fails with the page and the line of each fault, if there is any.
fn report(faults: &[(String, usize, String)]) {
    let text: Vec<_> = faults.iter().map(|(page, line, fault)| format!("{page}:{line}: {fault}")).collect();
    assert!(text.is_empty(), "\n{}", text.join("\n\n"));
}

/// The blocks of a page whose labels are all right. Another test tells the faults of the other pages.
fn of(page: &Page) -> Vec<Example> {
    examples::examples(&page.text).unwrap_or_default()
}

#[test]
fn every_block_has_a_label_that_says_how_it_is_checked() {
    let mut faults = Vec::new();
    for page in pages() {
        let found = examples::examples(&page.text).err().unwrap_or_default();
        faults.extend(found.into_iter().map(|(line, fault)| (page.name.clone(), line, fault)));
    }
    report(&faults);
}

/// The faults of a configuration or an appspec, if it has any.
fn yaml_fault(example: &Example) -> Option<String> {
    let (name, kind) = match example.kind {
        Kind::Configuration => ("hostler.yaml", "configuration"),
        Kind::Appspec => ("appspec.yml", "appspec"),
        _ => return None,
    };
    let host = Host::new();
    host.write(name, &example.text);
    let said = host.hostler(&["validate", "--deny-warnings", name]);
    if said.code != Some(0) {
        return Some(format!("exit code {:?}\n{}{}", said.code, said.out, said.err));
    }
    let found = host.hostler(&["validate", "--json", name]).json()["kind"].clone();
    (found != kind).then(|| format!("it is taken as {found}, not as {kind}"))
}

/// The faults of JSON documents, if they have any.
fn json_fault(example: &Example) -> Option<String> {
    if example.kind != Kind::Json {
        return None;
    }
    let documents = serde_json::Deserializer::from_str(&example.text).into_iter::<serde_json::Value>();
    match documents.collect::<Result<Vec<_>, _>>() {
        Ok(documents) if documents.is_empty() => Some("no JSON document".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn every_configuration_and_appspec_is_valid_and_every_json_document_is_one() {
    let mut faults = Vec::new();
    for page in pages() {
        for example in of(&page) {
            let fault = yaml_fault(&example).or_else(|| json_fault(&example));
            faults.extend(fault.map(|fault| (page.name.clone(), example.line, fault)));
        }
    }
    report(&faults);
}

#[test]
fn every_shell_block_runs() {
    let pages = pages();
    let run = |page: &Page| {
        let script = script::script(&of(page), Kind::Shell)?;
        script::run(&script).err().map(|(line, said)| (page.name.clone(), line, said))
    };
    // Most of their time is waiting: for hooks, for syncs of the disk, for a health check.
    let faults: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = pages.iter().map(|page| scope.spawn(move || run(page))).collect();
        running.into_iter().filter_map(|page| page.join().unwrap()).collect()
    });
    report(&faults);
}

#[test]
fn a_page_runs_as_a_reader_types_it() {
    let page = examples::examples(include_str!("documents/fixtures/shell.md")).unwrap();
    let script = script::script(&page, Kind::Shell).unwrap();
    assert_eq!(script::run(&script), Ok(()));
    assert_eq!(script::script(&page, Kind::Host), None);
    assert_eq!(yaml_fault(&page[0]), None);
}

#[test]
fn a_block_that_fails_is_told_with_its_line_and_its_output() {
    let page = examples::examples(include_str!("documents/fixtures/broken.md")).unwrap();
    let (line, said) = script::run(&script::script(&page, Kind::Shell).unwrap()).unwrap_err();
    assert_eq!(line, 7, "{said}");
    assert!(said.starts_with("exit code ") && said.contains("first\n") && said.contains("none.yml"), "{said}");
    assert!(!said.contains("not reached"), "{said}");
}

#[test]
fn a_page_cannot_act_on_the_machine_of_the_tests() {
    let (_, said) = script::run("hostler status\n").unwrap_err();
    assert_eq!(said, "exit code 2\nhostler status: without --root it would act on the machine that runs the tests");
}

#[test]
fn what_is_wrong_with_yaml_and_json_is_told() {
    let fault = |page: &str| {
        let page = examples::examples(page).unwrap();
        yaml_fault(&page[0]).or_else(|| json_fault(&page[0])).unwrap()
    };
    let unknown = fault("```yaml\n# hostler.yaml\ngroups: []\npool: 1s\n```\n");
    assert!(unknown.contains("`pool`") && unknown.contains("hostler.yaml:3"), "{unknown}");
    assert_eq!(fault("```yaml\n# appspec.yml\ngroups: []\n```\n"), "it is taken as \"configuration\", not as appspec");
    let warning = fault("```yaml\n# appspec.yml\nversion: 0.0\nos: linux\nfile: []\n```\n");
    assert!(warning.contains("misspelt-key"), "{warning}");
    assert!(fault("```json\n{\"a\": 1,}\n```\n").contains("line 1"));
    assert_eq!(fault("```json\n\n```\n"), "no JSON document");
}
