//! The files by which others find their way in the repository: the CI workflow, the code owners, the findings.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 == 0o111)
}

#[test]
fn the_workflow_calls_what_is_there_and_no_actions_of_others() {
    let text = fs::read_to_string(top().join(".github/workflows/ci.yml")).unwrap();
    let workflow: Value = serde_yaml::from_str(&text).unwrap();
    assert!(workflow["on"].get("pull_request").is_some() && workflow["on"]["push"].is_object(), "{workflow}");
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}));
    let mut called = BTreeSet::new();
    for job in workflow["jobs"].as_object().unwrap().values() {
        assert!(job["timeout-minutes"].as_u64().is_some_and(|minutes| minutes > 25), "{job}");
        for step in job["steps"].as_array().unwrap() {
            match (step["uses"].as_str(), step["run"].as_str()) {
                (Some(action), None) => assert!(action.starts_with("actions/checkout@"), "{action}"),
                (None, Some(script)) => called.extend(script.split_whitespace().filter(|word| word.starts_with("./"))),
                _ => panic!("a step is an action or a command: {step}"),
            }
        }
    }
    assert_eq!(called, ["./.ci/run"].into());
    for program in called {
        assert!(is_program(&top().join(program)), "{program} is no program");
    }
}

#[test]
fn every_path_with_a_code_owner_exists() {
    let text = fs::read_to_string(top().join("CODEOWNERS")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 5 && lines[0].starts_with("* "), "{lines:?}");
    for line in lines {
        let (pattern, owner) = line.split_once(' ').unwrap();
        assert!(owner.trim().starts_with('@'), "{line}");
        let path = top().join(pattern.trim_matches('/'));
        assert!(pattern == "*" || path.is_dir() == pattern.ends_with('/') && path.exists(), "there is no {pattern}");
    }
}

#[test]
fn every_finding_is_a_program_with_a_row_in_the_table() {
    let directory = top().join("findings");
    let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let scripts: BTreeSet<_> = names.filter(|name| name != "README.md").collect();
    let page = fs::read_to_string(directory.join("README.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| [")?.split_once(']'));
    let named = rows.map(|(name, rest)| {
        assert!(rest.starts_with(&format!("({name})")), "the link of {name} leads elsewhere");
        name.to_owned()
    });
    assert_eq!(named.collect::<BTreeSet<_>>(), scripts);
    for script in scripts {
        assert!(is_program(&directory.join(&script)), "{script} is no program");
    }
}
