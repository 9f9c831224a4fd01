//! Bundles of the corpus (corpus/README.md) are pushed, planned and deployed, with the same result as CodeDeploy's
//! agent.

mod bundles;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bundles::{Case, cases, outside};

use crate::support::host::{Host, tree_with_times};
use crate::support::skip;

/// The order of a deployment's events, without those of the old revision.
const NEW_EVENTS: [&str; 6] =
    ["BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService", "BeforeAllowTraffic", "AfterAllowTraffic"];
/// The events whose scripts are the old revision's.
const OLD_EVENTS: [&str; 3] = ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"];

/// Refused by the CodeDeploy agent and accepted here (CONFORMANCE.md, D-A1 to D-A3 and D-A8).
const TAKEN_HERE: [&str; 4] = ["0xradical-respriter-v4", "anchors", "bom-crlf", "mode-octal-600"];
/// Accepted by the CodeDeploy agent and refused here (CONFORMANCE.md, D-A5).
const REFUSED_HERE: [&str; 2] = ["files-escape", "hook-location-parent"];

#[test]
fn every_bundle_is_pushed_and_planned_or_refused_with_a_reason() {
    let counts = judged(&cases());
    assert!(counts.0 > 15 && counts.1 > 5 && counts.2 > 25, "{counts:?}");
}

#[test]
fn so_is_every_bundle_outside_the_project() {
    let cases = outside();
    if cases.is_empty() {
        return;
    }
    let counts = judged(&cases);
    assert!(counts.0 > 70 && counts.1 > 10 && counts.2 > 10, "{counts:?}");
}

/// The numbers of pushed, completed and then pushed, and refused cases.
fn judged(cases: &[Case]) -> (usize, usize, usize) {
    // Most of the time goes into waiting for the disk.
    let verdicts: Vec<Verdict> = std::thread::scope(|scope| {
        let workers: Vec<_> = cases.chunks(cases.len().div_ceil(6)).map(|some| scope.spawn(|| judge(some))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let count = |verdict| verdicts.iter().filter(|v| **v == verdict).count();
    (count(Verdict::Pushed), count(Verdict::PushedOnceCompleted), count(Verdict::Refused))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pushed,
    /// Refused as in its repository, because it lacks files that only a build makes.
    PushedOnceCompleted,
    Refused,
}

fn judge(cases: &[Case]) -> Vec<Verdict> {
    cases.iter().map(pushed_and_planned).collect()
}

fn pushed_and_planned(case: &Case) -> Verdict {
    let host = Host::new();
    case.write(&host.path("bundle"), "#!/bin/sh\n");
    let named = |names: &[&str]| names.contains(&case.id.as_str());
    let accepted = (case.accepted() || named(&TAKEN_HERE)) && !case.unplannable() && !named(&REFUSED_HERE);
    let missing = if accepted { case.complete(&host.path("bundle"), "#!/bin/sh\n", true) } else { Vec::new() };
    if !accepted || !missing.is_empty() {
        let output = host.hostler(&["push", "bundle", "store"]);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{}: {output:?}", case.id);
        assert!(output.err.contains("error["), "{}: {}", case.id, output.err);
        assert_eq!(
            tree_with_times(&host.path("store")).len(),
            1,
            "{}: {:?}",
            case.id,
            tree_with_times(&host.path("store"))
        );
        if !accepted {
            return Verdict::Refused;
        }
        for path in &missing {
            assert!(output.err.contains(path.as_str()), "{}: no word of {path}: {}", case.id, output.err);
        }
        case.complete(&host.path("bundle"), "#!/bin/sh\n", false);
    }
    let output = host.hostler(&["push", "bundle", "store"]);
    assert_eq!(output.code, Some(0), "{}: {}", case.id, output.err);
    let plan = host.hostler(&["plan", "bundle", "--json"]).json();
    let problems = plan["problems"].as_array().unwrap();
    // Users and groups of other hosts are unknown here; there must be no other problem.
    let codes: BTreeSet<_> = problems.iter().filter_map(|p| p["code"].as_str()).collect();
    let mut expected = BTreeSet::from(["unknown_user", "unknown_group", "owner_not_permitted"]);
    if !nix::unistd::Uid::effective().is_root() {
        expected.insert("user_not_permitted");
    }
    assert!(codes.is_subset(&expected), "{}: {problems:#?}", case.id);
    if missing.is_empty() { Verdict::Pushed } else { Verdict::PushedOnceCompleted }
}

#[test]
fn an_application_with_owners_scripts_of_several_users_and_traffic_hooks() {
    deployed(&cases(), "application", Some("application-next"));
}

#[test]
fn permissions_of_every_kind() {
    deployed(&cases(), "perm-type-both", Some("mode-setuid"));
    deployed(&cases(), "perm-pattern-except", Some("mode-quoted"));
}

#[test]
fn directories_files_and_destinations_as_they_are_written() {
    deployed(&cases(), "files-trailing-slash", Some("files-merge-dirs"));
    deployed(&cases(), "files-file-destination", Some("dup-destination-key"));
    deployed(&cases(), "yaml-and-yml", None);
}

#[test]
fn outside_one_application_with_owners_and_one_with_traffic_hooks() {
    deployed_outside("06-servicetf-hapoom-be-v2", Some("06-servicetf-hapoom-be"));
    deployed_outside("0xradical-respriter-v5", Some("0xradical-respriter"));
}

#[test]
fn outside_permissions_of_every_kind() {
    deployed_outside("endpass-tokeninfo--codedeploy", Some("endpass-tokeninfo"));
    deployed_outside("dynatrace-awsdevopstutorial--app", Some("dynatrace-awsdevopstutorial--tests"));
    deployed_outside("awsdocs--reference-appspec-file-structure-permissions-2", None);
    deployed_outside("gurre-codedeploy-agent-go--bundles-files-basic", None);
}

#[test]
fn outside_several_scripts_several_users_several_destinations() {
    deployed_outside(
        "cloudacademy-static-code-analysis-cicd--src-v2",
        Some("cloudacademy-static-code-analysis-cicd--src"),
    );
    deployed_outside("alchermd-singlebox--src", None);
    deployed_outside("awsdocs--reference-appspec-file-example-4", None);
    deployed_outside("jhw-hello-erlang--config", Some("jhw-hello-erlang--config-aws"));
}

#[test]
fn outside_whole_repositories_and_single_files() {
    deployed_outside("aws-samples-aws-codedeploy-samples--load-balancing-elb-v2", None);
    deployed_outside("aws-samples-aws-codedeploy-samples--salt-local-only", None);
    deployed_outside("aws-samples-aws-reinvent-2019-builders-session-o--codedeploy", None);
    deployed_outside("moduscreateorg-devops-infra-demo--codedeploy", None);
    deployed_outside(
        "saasscaleup-nodejs-aws-codedeploy-pipeline-v2",
        Some("saasscaleup-nodejs-aws-codedeploy-pipeline-v5"),
    );
}

/// Deploys cases outside the project, if `HOSTLER_CORPUS` names them.
fn deployed_outside(first: &str, second: Option<&str>) {
    let cases = outside();
    if !cases.is_empty() {
        deployed(&cases, first, second);
    }
}

/// Deploys a case, and another over it, on a host with the users that both name.
fn deployed(cases: &[Case], first: &str, second: Option<&str>) {
    let cases: Vec<Case> = [Some(first), second].into_iter().flatten().map(|id| Case::find(cases, id)).collect();
    if !nix::unistd::geteuid().is_root() {
        skip("scripts run as other users, which needs root");
        return;
    }
    let users: BTreeSet<String> = cases.iter().flat_map(Case::users).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let Some(host) = Host::with_users(&users) else { return };
    let mut before: Option<&Case> = None;
    for case in &cases {
        let bundle = host.path(&case.id);
        let record = host.write("record", "");
        fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
        let script = recording_script(&record);
        case.write(&bundle, &script);
        case.complete(&bundle, &script, false);
        let revision = host.push(&case.id);
        host.release_revision(&revision);
        let output = host.run_once();
        assert_eq!(output.code, Some(0), "{}: {}{}", case.id, output.out, output.err);
        check_files(&host, case);
        check_leftovers(&host, case, before);
        check_hooks(&host, case, before, &revision);
        before = Some(case);
    }
    host.hostler(&["history", "--verify"]).with_code(0);
}

/// Makes a script that writes one line for each run: the arguments, the user and the directory.
fn recording_script(record: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         echo \"$LIFECYCLE_EVENT|$0|$(id -un)|$(pwd)|$HOME|$APPLICATION_NAME/$DEPLOYMENT_GROUP_NAME|$HOSTLER_REVISION|\
         $HOSTLER_INSTANCE_ID|$(env | sed 's/=.*//' | sort | tr '\\n' ',')\" >> {}\n\
         echo \"out of $LIFECYCLE_EVENT\"\n\
         echo \"err of $LIFECYCLE_EVENT\" >&2\n",
        record.display()
    )
}

/// Checks that the files have the content, modes and owners of CodeDeploy's own plan for this case.
fn check_files(host: &Host, case: &Case) {
    let (passwd, group) =
        (fs::read_to_string(host.path("passwd")).unwrap(), fs::read_to_string(host.path("group")).unwrap());
    let id = |text: &str, name: &str| -> u32 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
        line.and_then(|line| line.split(':').nth(2))
            .unwrap_or_else(|| panic!("{}: who is {name}?", case.id))
            .parse()
            .unwrap()
    };
    let plan = case.plan();
    let mut copies = 0;
    for instruction in plan["instructions"].as_array().unwrap() {
        let text = |key: &str| instruction[key].as_str().unwrap_or_default();
        let at = |key: &str| host.at(text(key));
        let metadata = |key: &str| {
            fs::symlink_metadata(at(key)).unwrap_or_else(|e| panic!("{}: {}: {e}", case.id, at(key).display()))
        };
        match text("command") {
            "mkdir" => assert!(metadata("directory").is_dir(), "{}: {instruction}", case.id),
            "copy" => {
                let source = host.path(&case.id).join(text("source").trim_start_matches("{archive}/"));
                if metadata("destination").is_file() {
                    assert_eq!(fs::read(at("destination")).unwrap(), fs::read(&source).unwrap(), "{instruction}");
                }
                copies += 1;
            }
            "chmod" => {
                let mode = u32::from_str_radix(text("mode"), 8).unwrap();
                assert_eq!(metadata("file").mode() & 0o7777, mode, "{}: {instruction}", case.id);
            }
            "chown" => {
                let (owner, of_group) = (metadata("file").uid(), metadata("file").gid());
                assert!(text("owner").is_empty() || owner == id(&passwd, text("owner")), "{}: {instruction}", case.id);
                assert!(
                    text("group").is_empty() || of_group == id(&group, text("group")),
                    "{}: {instruction}",
                    case.id
                );
            }
            other => panic!("{}: no check for {other}", case.id),
        }
    }
    assert!(copies > 0, "{}", case.id);
}

/// Checks that files of the earlier revision alone are gone, and that only destinations and state were made.
fn check_leftovers(host: &Host, case: &Case, before: Option<&Case>) {
    let wanted = case.copied();
    for path in before.map(Case::copied).unwrap_or_default().difference(&wanted) {
        assert!(!host.at(path).exists(), "{}: {} is still there", case.id, path.display());
    }
    let allowed: Vec<_> = case.destinations().iter().map(|d| host.at(d)).collect();
    let state = [host.path("root/var/lib/hostler"), host.path("root/run/hostler")];
    for path in tree_with_times(&host.root()).into_keys().map(|path| host.path("root").join(path)) {
        let known = |place: &std::path::PathBuf| path.starts_with(place) || place.starts_with(&path);
        assert!(allowed.iter().chain(&state).any(known), "{}: {} was made", case.id, path.display());
    }
}

/// Checks that the scripts ran in order, each in its bundle, as its user, with its environment; their output is in
/// scripts.log.
fn check_hooks(host: &Host, case: &Case, before: Option<&Case>, revision: &str) {
    let old = before.map(|case| case.scripts(&OLD_EVENTS)).unwrap_or_default();
    let expected: Vec<(String, String, String)> = old.into_iter().chain(case.scripts(&NEW_EVENTS)).collect();
    let record = fs::read_to_string(host.path("record")).unwrap();
    let lines: Vec<Vec<&str>> = record.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines.len(), expected.len(), "{}: {record}", case.id);
    for (line, (event, location, user)) in lines.iter().zip(&expected) {
        let [ran, script, as_user, directory, home, group, told, instance, variables] = line[..] else {
            panic!("{line:?}")
        };
        assert_eq!((ran, as_user), (event.as_str(), user.as_str()), "{}: {record}", case.id);
        assert_eq!(script, format!("{directory}/{location}"), "{}: the working directory is the bundle", case.id);
        assert!(directory.starts_with(&host.path("root/var/lib/hostler").display().to_string()), "{directory}");
        assert_eq!(home, if user == "root" { "/root".to_owned() } else { format!("/home/{user}") });
        assert_eq!((group, told, instance), ("shop/web", revision, "i-test"));
        let expected = "APPLICATION_NAME,DEPLOYMENT_GROUP_ID,DEPLOYMENT_GROUP_NAME,DEPLOYMENT_ID,HOME,HOSTLER_DEADLINE,\
                        HOSTLER_INSTANCE_ID,HOSTLER_REVISION,HOSTLER_ROOT,LIFECYCLE_EVENT,LOGNAME,PATH,PWD,SHELL,USER,";
        assert_eq!(variables.replace("_,", ""), expected, "{}", case.id);
    }
    if expected.is_empty() {
        return;
    }
    let status = host.hostler(&["status", "--json"]).json();
    let id = status["groups"][0]["last"]["id"].as_str().unwrap_or_else(|| panic!("{status:#}")).to_owned();
    let printed = host.hostler(&["logs", &id, "--json"]).with_code(0).out;
    let lines = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let log: String = lines.map(|line| format!("{}\n", line["line"].as_str().unwrap())).collect();
    let mut expected_log = Vec::new();
    for (index, (event, location, _)) in expected.iter().enumerate() {
        if index == 0 || expected[index - 1].0 != *event {
            expected_log.push(format!("LifecycleEvent - {event}"));
        }
        expected_log.push(format!("Script - {location}"));
        expected_log.push(format!("[stdout]out of {event}"));
        expected_log.push(format!("[stderr]err of {event}"));
    }
    let (mut got, mut wanted) = (without_times(&log), expected_log);
    // There are two pipes, so the order of the two lines is not defined.
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted, "{}: {log}", case.id);
}

/// Each line begins with a time, `2026-01-31 23:59:59`, as the CodeDeploy agent writes it.
fn without_times(log: &str) -> Vec<String> {
    let shape = |text: &str| -> String { text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect() };
    let strip = |line: &str| {
        let (time, rest) = line.split_at(20);
        assert_eq!(shape(time), "9999-99-99 99:99:99 ", "{line}");
        rest.to_owned()
    };
    log.lines().map(strip).collect()
}
