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

fn workflow(name: &str) -> Value {
    let text = fs::read_to_string(top().join(".github/workflows").join(name)).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// The actions of a job's steps, and the programs of the repository that they call. Each step is one or the other.
fn steps(job: &Value) -> (Vec<String>, BTreeSet<String>) {
    let (mut actions, mut called) = (Vec::new(), BTreeSet::new());
    for step in job["steps"].as_array().unwrap() {
        match (step["uses"].as_str(), step["run"].as_str()) {
            (Some(action), None) => actions.push(action.to_owned()),
            (None, Some(script)) => {
                called.extend(script.split_whitespace().filter(|word| word.starts_with("./")).map(str::to_owned));
            }
            _ => panic!("a step is an action or a command: {step}"),
        }
    }
    (actions, called)
}

#[test]
fn the_workflow_calls_what_is_there_and_no_actions_of_others() {
    let workflow = workflow("ci.yml");
    assert!(workflow["on"].get("pull_request").is_some() && workflow["on"]["push"].is_object(), "{workflow}");
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}));
    let mut called = BTreeSet::new();
    for job in workflow["jobs"].as_object().unwrap().values() {
        assert!(job["timeout-minutes"].as_u64().is_some_and(|minutes| minutes > 25), "{job}");
        let (actions, programs) = steps(job);
        assert!(actions.iter().all(|action| action.starts_with("actions/checkout@")), "{actions:?}");
        called.extend(programs);
    }
    assert_eq!(called, BTreeSet::from(["./.ci/run".to_owned()]));
    for program in called {
        assert!(is_program(&top().join(&program)), "{program} is no program");
    }
    let oldest = workflow["jobs"]["oldest-compiler"]["steps"].to_string();
    assert!(oldest.contains("^rust-version") && oldest.contains("cargo check --workspace --locked"), "{oldest}");
}

/// Whether an action is GitHub's own and named by a commit, which cannot move as a tag can.
fn is_pinned(action: &str) -> bool {
    let Some((name, commit)) = action.split_once('@') else { return false };
    name.starts_with("actions/") && commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[test]
fn a_release_waits_for_the_tests_and_its_jobs_may_do_no_more_than_they_must() {
    let workflow = workflow("release.yml");
    assert_eq!(workflow["on"], serde_json::json!({"push": {"tags": ["v*"]}}));
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}));
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs["tests"], serde_json::json!({"uses": "./.github/workflows/ci.yml"}));
    for (job, before) in [("draft", "tests"), ("packages", "draft"), ("checksums", "packages")] {
        assert_eq!(jobs[job]["needs"], before, "{job}");
    }
    let mut called = BTreeSet::new();
    for (name, job) in jobs.iter().filter(|(name, _)| *name != "tests") {
        assert!(job["timeout-minutes"].is_u64(), "{name}");
        let (actions, programs) = steps(job);
        assert!(actions.iter().all(|action| is_pinned(action)), "{name}: {actions:?}");
        called.extend(programs);
        // The key comes to the one job that signs, and no code of the repository runs there.
        let with_key = job.to_string().contains("secrets.");
        assert_eq!(with_key, name == "checksums", "{name}");
        assert!(!with_key || actions.is_empty() && job["environment"] == "release", "{name}");
    }
    for program in
        ["build-deb", "build-rpm", "build-compat-deb", "build-compat-rpm", "check-glibc", "bill-of-materials"]
    {
        let path = format!("./packaging/{program}");
        assert!(called.remove(&path) && is_program(&top().join(&path)), "{path}");
    }
    assert!(called.is_empty(), "{called:?}");
    let runners = &jobs["packages"]["strategy"]["matrix"]["runner"];
    assert_eq!(*runners, serde_json::json!(["ubuntu-22.04", "ubuntu-22.04-arm"]), "both processors");
}

#[test]
fn the_example_in_the_shipped_configuration_is_good() {
    let text = fs::read_to_string(top().join("packaging/etc/config.yaml")).unwrap();
    let limits = hostler_core::limits::Limits::default();
    let groups = |text: String| {
        let read = hostler_core::config::read(&[("config.yaml".to_owned(), text)], &limits).unwrap();
        read.groups.iter().map(|group| (group.key.to_string(), group.channel.clone())).collect::<Vec<_>>()
    };
    assert_eq!(groups(text.clone()), [], "nothing is set");
    let (_, example) = text.rsplit_once("#\n").unwrap();
    let example: Vec<_> = example.lines().map(|line| line.strip_prefix('#').unwrap()).collect();
    assert_eq!(groups(example.join("\n")), [("web/production".to_owned(), Some("s3://my-bucket/deploy".to_owned()))]);
}

/// A directory with nothing but these programs.
fn only(programs: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for program in programs {
        let there = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(program));
        let there = there.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(there, directory.path().join(program)).unwrap();
    }
    directory
}

#[test]
fn the_test_command_explains_itself_and_names_a_missing_tool_first() {
    let path = only(&["bash", "dirname", "sed", "grep"]);
    let run = |argument: &str| {
        let mut command = std::process::Command::new("/bin/bash");
        command.arg(top().join("tests/run")).arg(argument).env_clear().env("PATH", path.path());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run("--help");
    assert!(code == Some(0) && out.contains("tests/run --quick") && err.is_empty(), "{code:?} {out} {err}");
    let (code, _, err) = run("--quck");
    assert!(code == Some(2) && err.contains("tests/run --quick"), "{code:?} {err}");
    let (code, out, err) = run("--quick");
    assert!(code == Some(1) && err.contains("cargo-nextest") && !out.contains("== format"), "{code:?} {out} {err}");
}

#[test]
fn the_deb_is_built_with_the_tool_that_the_test_command_pins() {
    let read = |path: &str| fs::read_to_string(top().join(path)).unwrap();
    assert!(read("tests/run").lines().any(|line| line.starts_with("deb=")));
    let script = read("packaging/build-deb");
    assert!(script.contains("sed -n 's/^deb=//p' tests/run"), "{script}");
    assert!(script.contains("cargo install --quiet --locked \"cargo-deb@$version\""), "{script}");
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

/// The names and versions of the crates that are linked into the programs for a target, without the project's own.
fn linked(target: &str) -> BTreeSet<(String, String)> {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--package", "hostler", "--target", target, "--manifest-path"])
        .arg(top().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates = text.lines().filter(|line| !line.contains("(/")).filter_map(|line| line.split_once(" v"));
    crates.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned())).collect()
}

#[test]
fn the_packages_bring_the_licence_of_each_crate_that_is_linked() {
    let text = fs::read_to_string(top().join("packaging/licences/THIRD-PARTY.txt")).unwrap();
    let rule = "=".repeat(100);
    let (list, texts) = text.split_once(&rule).unwrap();
    let named = list.lines().filter_map(|line| line.split_once(": ")?.0.split_once(' '));
    let named: BTreeSet<_> = named.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
    let linked: BTreeSet<_> =
        ["x86_64", "aarch64"].iter().flat_map(|cpu| linked(&format!("{cpu}-unknown-linux-gnu"))).collect();
    assert!(linked.len() > 100, "the list is read wrongly: {linked:?}");
    let differ: Vec<_> = named.symmetric_difference(&linked).collect();
    assert!(
        differ.is_empty(),
        "run packaging/licences/generate and commit THIRD-PARTY.txt, for these crates: {differ:?}"
    );
    for (name, words) in
        [("aws-lc-sys", "OpenSSL"), ("zstd-sys", "Meta Platforms"), ("the Rust standard library", "MIT")]
    {
        assert!(texts.contains(&format!("\n{name}")) && texts.contains(words), "no text for {name}");
    }
    let package = fs::read_to_string(top().join("agent/app/Cargo.toml")).unwrap();
    let specification = fs::read_to_string(top().join("packaging/rpm/hostler.spec")).unwrap();
    assert!([package, specification].iter().all(|recipe| recipe.contains("packaging/licences/THIRD-PARTY.txt")));
}
