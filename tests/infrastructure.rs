//! The examples in `packaging/infrastructure` and `packaging/ci`: their configurations are good, they allow what the shipped
//! policies allow, and their scripts publish and check with the built program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::host::{Ended, HOSTLER, Host};

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(packaging(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The configuration that a script of user data writes: the lines from `groups:` to `END`, with a word for each variable.
fn configuration(script: &str) -> String {
    let lines = script.lines().skip_while(|line| line.trim_start() != "groups:");
    let lines: Vec<_> = lines.take_while(|line| line.trim_start() != "END").collect();
    let margin = lines[0].len() - lines[0].trim_start().len();
    let mut written = String::new();
    for line in lines {
        let mut parts = line[margin..].split("${");
        written.push_str(parts.next().unwrap());
        for part in parts {
            let (variable, rest) = part.split_once('}').unwrap();
            written.push_str(if variable == "store" { "s3://my-bucket/deploy" } else { "word" });
            written.push_str(rest);
        }
        written.push('\n');
    }
    written
}

#[test]
fn the_configurations_in_user_data_are_good() {
    let host = Host::new();
    for file in ["infrastructure/terraform/user-data.sh.tftpl", "infrastructure/cloudformation/fleet.yaml"] {
        let script = text(file);
        let written = configuration(&script);
        host.write("hostler.yaml", &written);
        host.hostler(&["validate", "--deny-warnings", "hostler.yaml"]).with_code(0);
        // The hooks that the group has.
        let group = if file.ends_with("tftpl") { text("infrastructure/terraform/main.tf") } else { script };
        for hook in ["hostler-launch", "hostler-terminate"] {
            assert!(written.contains(hook) && group.replace(&written, "").contains(hook), "{file}: {hook}");
        }
    }
}

/// The actions that a template names.
fn actions(template: &str) -> BTreeSet<String> {
    let words = template.split_whitespace().map(|word| word.trim_matches(['"', '\'', ',']));
    let action = |word: &&str| {
        let parts = word.split_once(':');
        parts.is_some_and(|(service, name)| {
            service.bytes().all(|b| b.is_ascii_lowercase())
                && !service.is_empty()
                && name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    };
    words.filter(action).map(str::to_owned).collect()
}

#[test]
fn the_templates_allow_what_the_shipped_policies_allow() {
    for (template, policies) in
        [("fleet", ["s3-host", "auto-scaling", "signals"].as_slice()), ("store", ["s3-publisher"].as_slice())]
    {
        let mut found = actions(&text(&format!("infrastructure/cloudformation/{template}.yaml")));
        found.remove("sts:AssumeRole");
        let shipped = policies.iter().flat_map(|policy| actions(&text(&format!("iam/{policy}.json"))));
        assert_eq!(found, shipped.collect(), "{template}");
    }
    // The words in capitals that main.tf replaces are those of the policies that it reads.
    let module = text("infrastructure/terraform/main.tf");
    for policy in ["s3-host", "s3-publisher", "auto-scaling", "logs"] {
        assert!(module.contains(&format!("\"{policy}\"")), "{policy}");
        let mut left = text(&format!("iam/{policy}.json"));
        for word in ["APPLICATION/DEPLOYMENT-GROUP", "BUCKET/PREFIX", "BUCKET", "REGION:ACCOUNT", "GroupName/GROUP"] {
            left = left.replace(word, "");
        }
        let capitals = left.split(|c: char| !c.is_ascii_uppercase()).filter(|word| word.len() > 3);
        assert_eq!(capitals.count(), 0, "{policy}: {left}");
    }
}

/// A program or script of `packaging/ci` with the built program, in a host's directory.
fn ci(host: &Host, script: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(script);
    command.args(arguments).current_dir(host.path("")).env("HOSTLER", HOSTLER);
    Ended::of(command)
}

const APPSPEC: &str =
    "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - location: hooks/absent.sh\n      timout: 3\n";

/// The composite action's script with its inputs, as GitHub's runner starts it.
fn action(host: &Host, path: &str, deny_warnings: bool, programs: &str) -> Ended {
    let action: Value = serde_yaml::from_str(&text("ci/action/action.yml")).unwrap();
    let step = &action["runs"]["steps"][0];
    assert_eq!(step["shell"], "sh");
    let mut command = Command::new("/bin/sh");
    command.args(["-e", "-c", step["run"].as_str().unwrap()]).current_dir(host.path("")).env_clear();
    let path_variable = format!("{programs}:/usr/bin:/bin");
    command.envs([("PATH", path_variable.as_str()), ("VALIDATED", path)]);
    command.env("DENY_WARNINGS", deny_warnings.to_string());
    Ended::of(command)
}

#[test]
fn a_wrong_appspec_is_marked_in_the_pull_request() {
    let host = Host::new();
    std::os::unix::fs::symlink(HOSTLER, host.path("tmp/hostler")).unwrap();
    let programs = host.path("tmp").display().to_string();
    let marks = |path: &str, deny_warnings| action(&host, path, deny_warnings, &programs);
    host.write("web/appspec.yml", APPSPEC);
    let absolute = host.path("web").display().to_string();
    for path in ["web", "./web/", "web/appspec.yml", absolute.as_str()] {
        let said = marks(path, true).with_code(1).out;
        assert!(said.contains("::error file=web/appspec.yml,line=6,col=7,title=misspelt-key::"), "{said}");
        assert!(said.lines().all(|line| line.starts_with("::")), "{said}");
    }
    // A problem that shows only beside the files, in an appspec without mistakes.
    host.write("web/appspec.yml", APPSPEC.replace("timout", "timeout"));
    let said = marks("web", true).with_code(1).out;
    assert!(
        said.starts_with("::error file=web/appspec.yml,line=5,col=") && said.contains("title=script-absent::"),
        "{said}"
    );
    assert!(said.contains("%0A") && said.lines().count() == 1, "{said}");
    // A warning fails the step only where that is asked for.
    host.write("web/hooks/absent.sh", "echo\n");
    let said = marks("web", false).with_code(0).out;
    assert!(said.starts_with("::warning file=web/appspec.yml,"), "{said}");
    marks("web", true).with_code(1);
    host.write("web/hooks/absent.sh", "#!/bin/sh\n");
    assert_eq!(marks("web", true).with_code(0).out, "");
    // An input that looks like a flag is a path.
    marks("--version", true).with_code(5);
    let without = action(&host, "web", true, "/nonexistent").with_code(1).out;
    assert!(without.starts_with("::error title=hostler::hostler is not installed"), "{without}");
}

#[test]
fn a_code_scanning_service_gets_the_same_findings() {
    let host = Host::new();
    host.write("web/appspec.yml", APPSPEC);
    let sarif = |path: &str| -> Value {
        let mut command = Command::new(HOSTLER);
        command.args(["validate", path, "--format", "sarif"]).current_dir(host.path(""));
        serde_json::from_str(&Ended::of(command).with_code(1).out).unwrap()
    };
    let log = sarif("./web");
    assert_eq!((&log["version"], &log["runs"][0]["tool"]["driver"]["name"]), (&"2.1.0".into(), &"hostler".into()));
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().find(|result| result["ruleId"] == rule).unwrap_or_else(|| panic!("{log}"));
    let place = &of("misspelt-key")["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "web/appspec.yml");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&6.into(), &7.into()));
    // What has no place in a text is about the file: here one that is no archive.
    host.write("web.zip", "PK\u{3}\u{4} cut off");
    let log = sarif("web.zip");
    let [result] = log["runs"][0]["results"].as_array().unwrap().as_slice() else { panic!("{log}") };
    assert_eq!((&result["ruleId"], &result["level"]), (&"unusable".into(), &"error".into()));
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "web.zip");
}

#[test]
fn the_lines_of_an_appspec_in_an_archive_are_in_the_message() {
    let host = Host::new();
    host.write("web/appspec.yml", APPSPEC);
    let mut tar = Command::new("tar");
    tar.args(["-czf", "web.tgz", "-C", "web", "."]).current_dir(host.path(""));
    Ended::of(tar).with_code(0);
    let mut command = Command::new(HOSTLER);
    command.args(["validate", "web.tgz", "--format", "github"]).current_dir(host.path(""));
    let said = Ended::of(command).with_code(1).out;
    assert!(said.contains("::error file=web.tgz,title=misspelt-key::appspec.yml:6:7: "), "{said}");
}

#[test]
fn the_format_json_is_the_flag_json() {
    let host = Host::new();
    host.write("web/appspec.yml", APPSPEC);
    let said = |flags: &[&str]| {
        let mut command = Command::new(HOSTLER);
        command.args(["validate", "web"]).args(flags).current_dir(host.path(""));
        Ended::of(command)
    };
    let json = said(&["--json"]).with_code(1).out;
    assert!(json.contains("misspelt-key"), "{json}");
    assert_eq!(said(&["--format", "json"]).with_code(1).out, json);
    assert_eq!(said(&["--format", "text"]).with_code(1).out, said(&[]).with_code(1).out);
    said(&["--json", "--format", "sarif"]).with_code(2);
}

#[test]
fn the_pre_commit_hook_checks_the_bundle_around_an_appspec() {
    let host = Host::new();
    host.write("web/appspec.yml", APPSPEC.replace("timout", "timeout"));
    host.write("hostler.yaml", "poll: 60s\n");
    let hook = packaging("ci/pre-commit");
    ci(&host, &hook, &["web/appspec.yml", "hostler.yaml"]).with_code(1).saying(&["script-absent"]);
    host.write("web/hooks/absent.sh", "#!/bin/sh\n");
    ci(&host, &hook, &["web/appspec.yml", "hostler.yaml"]).with_code(0);
    host.write("hostler.yaml", "groups: []\npol: 60s\n");
    ci(&host, &hook, &["web/appspec.yml", "hostler.yaml"]).with_code(1).saying(&["unknown-configuration-key"]);
}

/// The scripts of the three pipelines that push and release.
fn pipelines() -> [String; 3] {
    let yaml = |file: &str| -> Value { serde_yaml::from_str(&text(file)).unwrap() };
    let buildspec = yaml("ci/buildspec.yml");
    let commands =
        ["build", "post_build"].map(|phase| buildspec["phases"][phase]["commands"].as_array().unwrap().clone());
    let commands: Vec<_> = commands.iter().flatten().map(|command| command.as_str().unwrap().to_owned()).collect();
    let workflow = yaml("ci/github-workflow.yml");
    let steps = workflow["jobs"]["release"]["steps"].as_array().unwrap().clone();
    let jenkins = text("ci/Jenkinsfile");
    let jenkins = jenkins.split("'''").nth(1).unwrap();
    [commands.join("\n"), steps.last().unwrap()["run"].as_str().unwrap().to_owned(), jenkins.to_owned()]
}

#[test]
fn each_pipeline_releases_a_commit_once() {
    for (script, label) in pipelines().iter().zip(["0123456789ab", "aaaa56789abc", "bbbb56789abc"]) {
        let host = Host::new();
        host.write("web/appspec.yml", "version: 0.0\nos: linux\n");
        std::os::unix::fs::symlink(HOSTLER, host.path("tmp/hostler")).unwrap();
        let run = || {
            let mut command = Command::new("bash");
            command.args(["-ec", script]).current_dir(host.path("")).env_clear();
            command.env("PATH", format!("{}:/usr/bin:/bin", host.path("tmp").display())).env("STORE", host.store());
            command.envs([("APPLICATION", "web"), ("GROUP", "production"), ("CODEBUILD_BUILD_SUCCEEDING", "1")]);
            command.envs([("CODEBUILD_RESOLVED_SOURCE_VERSION", "0123456789abcdef"), ("CODEBUILD_BUILD_ID", "web:1")]);
            command.envs([("GITHUB_SHA", "aaaa56789abcdef"), ("GITHUB_RUN_ID", "7")]);
            command.envs([("GIT_COMMIT", "bbbb56789abcdef"), ("BUILD_TAG", "jenkins-web-1")]);
            Ended::of(command).with_code(0)
        };
        run().saying(&[&format!("release 1 of web/production: {label}")]);
        run().saying(&["nothing is published"]);
    }
}
