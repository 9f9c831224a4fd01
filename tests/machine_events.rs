//! Machine events: an operator's own scripts, when the machine starts, changes and stops.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::auto_scaling::{AutoScaling, SECRET};
use crate::support::eventually;
use crate::support::host::{Bundle, Gate, Host, PATIENCE, Running, write};
use crate::support::imds::Imds;

/// A script of an event: it writes the event and its own name among the hooks' lines, and then runs `body`.
pub fn script(host: &Host, event: &str, name: &str, body: &str) -> PathBuf {
    let directory = host.at("etc/hostler/hooks.d").join(event);
    fs::create_dir_all(&directory).unwrap();
    for path in [directory.parent().unwrap(), &directory] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let path = directory.join(name);
    let lines = host.hook_lines_file();
    write(&path, format!("#!/bin/sh\necho \"$HOSTLER_EVENT {name} x\" >> {}\n{body}\n", lines.display()));
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn ran(host: &Host, line: &str) -> usize {
    host.hook_lines().iter().filter(|found| *found == line).count()
}

fn runs(host: &Host, line: &str, daemon: &Running) {
    eventually(&format!("{line:?} runs"), PATIENCE, || {
        if ran(host, line) > 0 { Ok(()) } else { Err(format!("{:?}\n{}", host.hook_lines(), daemon.said())) }
    });
}

/// Waits until the last run of an event has ended as `wanted`, and no run is in progress.
fn ended(host: &Host, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{event} ends"), PATIENCE, || {
        let shown = host.run(&["status", "--json"]);
        let document: Value = serde_json::from_str(&shown.out).map_err(|error| format!("{error}: {shown:?}"))?;
        let (events, last) = (&document["machine_events"], &document["machine_events"]["last"][event]);
        let idle = events["queue"].as_array().is_some_and(Vec::is_empty);
        if idle && last.is_object() && wanted(last) { Ok(last.clone()) } else { Err(events.to_string()) }
    })
}

fn succeeded(last: &Value) -> bool {
    last["failures"].as_array().is_some_and(Vec::is_empty)
}

fn gate(host: &Host, name: &str) -> (String, Gate) {
    let gate = Gate::new(host, name);
    (gate.wait(), gate)
}

#[test]
fn a_new_instance_is_set_up_once_before_its_first_deployment() {
    let host = Host::new();
    let seen = host.path("environment");
    let (wait, gate) = gate(&host, "setup");
    script(&host, "Setup", "10-first", &format!("env > {}; echo said; {wait}", seen.display()));
    script(&host, "Setup", "20-second", "");
    script(&host, "Setup", "30-backup~", "");
    host.release(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]);
    let daemon = host.daemon(&["--instance-id", "i-1"]);
    runs(&host, "Setup 10-first", &daemon);
    // The channel is followed, but nothing is deployed yet.
    eventually("the channel is looked at", PATIENCE, || {
        let status = host.ok(&["status", "--json"]).json();
        let looks = status["daemon"]["channels"][0]["polls"].as_u64().unwrap_or(0);
        if looks >= 2 { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(host.hook_lines(), ["Setup 10-first"]);
    gate.open();
    runs(&host, "v1 AfterAllowTraffic", &daemon);
    assert_eq!(host.hook_lines()[..3], ["Setup 10-first", "Setup 20-second", "v1 BeforeInstall"]);
    let environment = fs::read_to_string(seen).unwrap();
    for line in ["HOSTLER_EVENT=Setup", "HOSTLER_INSTANCE_ID=i-1", "HOSTLER_DEADLINE=1800"] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    assert!(!environment.contains("DEPLOYMENT_ID") && !environment.contains("AWS_"), "{environment}");
    let log = fs::read_to_string(host.state().join("machine-events/1-Setup/scripts.log")).unwrap();
    assert!(log.contains("[stdout]said"), "{log}");
    daemon.kill();
    let again = host.daemon(&["--instance-id", "i-1"]);
    again.says("hostler runs");
    assert_eq!((ran(&host, "Setup 10-first"), ran(&host, "v1 AfterInstall")), (1, 1));
    again.kill();
    // The disk as an image: another instance runs Setup again, and the first one's runs do not count for it.
    let other = host.daemon(&["--instance-id", "i-2"]);
    eventually("the other instance is set up", PATIENCE, || {
        let runs = ran(&host, "Setup 20-second");
        if runs == 2 { Ok(()) } else { Err(format!("{runs}\n{}", other.said())) }
    });
}

#[test]
fn a_kill_in_a_script_leads_to_one_run_of_it() {
    let host = Host::new();
    let (wait, gate) = gate(&host, "setup");
    script(&host, "Setup", "10-first", &wait);
    script(&host, "Setup", "20-second", "");
    let daemon = host.daemon(&[]);
    runs(&host, "Setup 10-first", &daemon);
    daemon.kill();
    let again = host.daemon(&[]);
    again.says("hostler runs");
    gate.open();
    ended(&host, "Setup", succeeded);
    assert_eq!(host.hook_lines(), ["Setup 10-first", "Setup 20-second"]);
}

#[test]
fn a_deployment_and_a_removal_are_told_and_a_failure_there_fails_nothing_else() {
    let host = Host::new();
    let seen = host.path("environment");
    script(&host, "Deploy", "10-fails", &format!("env > {}; echo wrong; exit 3", seen.display()));
    script(&host, "Deploy", "20-runs", "");
    script(&host, "Undeploy", "10-tidy", "");
    let daemon = host.daemon(&[]);
    let revision = host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let last = ended(&host, "Deploy", |last| !succeeded(last));
    assert_eq!(last["failures"], serde_json::json!(["10-fails: exit status 3"]));
    assert_eq!(host.hook_lines(), ["Deploy 10-fails", "Deploy 20-runs"]);
    assert_eq!(host.status()["condition"], "good");
    let environment = fs::read_to_string(&seen).unwrap();
    let deployment = host.status()["last"]["id"].as_str().unwrap().to_owned();
    let facts = [
        format!("DEPLOYMENT_ID={deployment}"),
        format!("HOSTLER_REVISION={revision}"),
        "APPLICATION_NAME=shop".to_owned(),
        "DEPLOYMENT_GROUP_NAME=web".to_owned(),
    ];
    for line in facts {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    daemon.says("the machine event Deploy failed: 10-fails: exit status 3; its output is in");
    host.ok(&["status"]).saying(&["machine event Deploy: FAILED: 10-fails: exit status 3"]);
    // A failed deployment runs no Deploy scripts.
    host.run(&["deploy", Bundle::new(&host, "v2").hook("BeforeInstall", "exit 1").write().to_str().unwrap()])
        .with_code(1);
    host.ok(&["remove"]);
    ended(&host, "Undeploy", succeeded);
    assert_eq!(ran(&host, "Undeploy 10-tidy"), 1);
}

#[test]
fn without_a_daemon_a_verb_ends_when_the_scripts_have() {
    let host = Host::new();
    script(&host, "Deploy", "10-slow", "sleep 0.3; echo done >> \"$0.done\"");
    host.ok(&["deploy", Bundle::new(&host, "v1").app().write().to_str().unwrap()]);
    assert!(host.at("etc/hostler/hooks.d/Deploy/10-slow.done").exists());
    assert!(succeeded(&host.ok(&["status", "--json"]).json()["machine_events"]["last"]["Deploy"]));
}

#[test]
fn what_others_can_write_is_refused_by_name_and_deployments_go_on() {
    let host = Host::new();
    let open = script(&host, "Setup", "10-open", "");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    script(&host, "Setup", "20-good", "");
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    script(&host, "setup", "10-small", "");
    let daemon = host.daemon(&[]);
    daemon.says("hooks.d/setup is no machine event");
    daemon.says("10-open can be written by others than its owner (mode 0777)");
    host.status_when("it is deployed", |status| status["condition"] == "good");
    assert_eq!(host.hook_lines(), Vec::<String>::new());
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    host.ok(&["reload"]);
    ended(&host, "Setup", succeeded);
    assert_eq!(host.hook_lines(), ["Setup 10-open", "Setup 20-good"]);
}

#[test]
fn a_state_directory_that_takes_no_runs_fails_the_event_alone() {
    let host = Host::new();
    script(&host, "Setup", "10-first", "");
    write(&host.state().join("machine-events"), "in the way");
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let daemon = host.daemon(&[]);
    let last = ended(&host, "Setup", |last| !succeeded(last));
    assert!(last["failures"][0].as_str().is_some_and(|text| text.contains("File exists")), "{last}");
    host.status_when("it is deployed", |status| status["condition"] == "good");
    assert!(!daemon.said().contains("its output is in"), "{}", daemon.said());
}

#[test]
fn a_script_ends_at_its_time_with_all_that_it_started() {
    let host = Host::new();
    script(&host, "Setup", "10-hangs", "sleep 1000");
    host.configure("machine_events: {timeout: 1s}\n");
    let _daemon = host.daemon(&[]);
    let last = ended(&host, "Setup", |last| !succeeded(last));
    assert!(last["failures"][0].as_str().is_some_and(|text| text.contains("10-hangs: timed out after 1 s")), "{last}");
    host.configure("machine_events: {timeot: 1s}\n");
    host.run(&["run", "--once"]).with_code(2).saying(&["did you mean `timeout`?"]);
}

#[test]
fn with_nothing_to_run_nothing_is_noted() {
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let _daemon = host.daemon(&[]);
    host.status_when("it is deployed", |status| status["condition"] == "good");
    assert!(!host.state().join("machine-events").exists());
    let events = host.ok(&["status", "--json"]).json()["machine_events"].clone();
    assert_eq!((&events["entries"], &events["last"]), (&0.into(), &serde_json::json!({})), "{events}");
}

/// The members in the document that a script of Configure saw last.
fn members(seen: &Path) -> Result<Vec<String>, String> {
    let document: Value =
        serde_json::from_slice(&fs::read(seen).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let members = document["members"].as_array().ok_or_else(|| document.to_string())?;
    Ok(members.iter().map(|member| member["instance"].as_str().unwrap_or_default().to_owned()).collect())
}

fn members_are(seen: &Path, wanted: &[&str], daemon: &Running) {
    eventually(&format!("the members are {wanted:?}"), PATIENCE, || {
        let found = members(seen)?;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}\n{}", daemon.said())) }
    });
}

#[test]
fn hosts_of_one_store_are_configured_when_another_one_comes() {
    let (one, other) = (Host::new(), Host::new());
    let seen = one.path("members");
    script(&one, "Configure", "10-members", &format!("cp \"$HOSTLER_MEMBERS\" {}", seen.display()));
    let daemon = one.daemon(&["--instance-id", "i-1"]);
    members_are(&seen, &["i-1"], &daemon);
    let store = one.store();
    let _other = other.start(&["run", "--channel", store.to_str().unwrap(), "--poll", "1s", "--instance-id", "i-2"]);
    let document = store.join("shop/web/hosts/i-2.json");
    eventually("the other one is there", PATIENCE, || document.exists().then_some(()).ok_or("it is not".to_owned()));
    // A reload checks at once.
    one.ok(&["reload"]);
    members_are(&seen, &["i-1", "i-2"], &daemon);
    ended(&one, "Configure", succeeded);
    let runs = ran(&one, "Configure 10-members");
    // An address that root's scripts would put into their configuration is valid, or left out.
    let third = fs::read_to_string(&document).unwrap().replace("\"i-2\"", "\"i-3\"");
    let mut third: Value = serde_json::from_str(&third).unwrap();
    third["address"] = "10.0.0.3\nevil \u{1b}[2J".into();
    fs::write(store.join("shop/web/hosts/i-3.json"), third.to_string()).unwrap();
    one.ok(&["reload"]);
    daemon.says("hosts/i-3.json is left out of the members: address \"10.0.0.3\\nevil \\u{1b}[2J\" is no IP address");
    fs::write(document, "garbage").unwrap();
    one.ok(&["reload"]);
    eventually("the configuration was read three times", PATIENCE, || {
        let said = daemon.said();
        if said.matches("the configuration was read again").count() == 3 { Ok(()) } else { Err(said) }
    });
    assert_eq!(ran(&one, "Configure 10-members"), runs, "the same members are no change");
}

/// A host in an Auto Scaling group.
struct Member {
    host: Host,
    group: AutoScaling,
    imds: Imds,
}

const INSTANCE: &str = "i-0123456789abcdef0";

impl Member {
    fn new(more: &str) -> Self {
        let (host, group, imds) = (Host::new(), AutoScaling::start(INSTANCE), Imds::start(INSTANCE));
        group.hook("terminate", false);
        host.configure(&format!(
            "auto_scaling: {{terminate_hooks: [terminate], poll: 1s{more}}}\n\
             groups: [{{application: shop, group: web, channel: '{}', poll: 1s}}]\n",
            host.store().display()
        ));
        let member = Self { host, group, imds };
        member.moves("InService", "InService");
        member
    }

    fn moves(&self, target: &str, state: &str) {
        self.imds.change(|instance| instance.target_state = Some(target.to_owned()));
        self.group.enter(target, state);
    }

    fn daemon(&self) -> Running {
        let mut command = self.host.command(&["run"]);
        command.env("AWS_ENDPOINT_URL", self.group.url()).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.url());
        self.host.start_command(command)
    }

    fn ends_with(&self, result: &str, daemon: &Running) {
        eventually("the instance ends", PATIENCE, || {
            let state = self.group.state();
            if state == "Terminated" { Ok(()) } else { Err(format!("{state}\n{}", daemon.said())) }
        });
        assert_eq!(self.group.change(|group| group.wrong.clone()), Vec::<String>::new());
        assert_eq!(self.group.change(|group| group.completed.clone()), [("terminate".to_owned(), result.to_owned())]);
    }
}

#[test]
fn the_members_of_an_auto_scaling_group_are_those_in_service() {
    let member = Member::new("");
    let seen = member.host.path("members");
    script(&member.host, "Configure", "10-members", &format!("cp \"$HOSTLER_MEMBERS\" {}", seen.display()));
    let fellow = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    member.group.change(|group| group.fellows = vec![fellow("i-2", "InService"), fellow("i-3", "Pending:Wait")]);
    let daemon = member.daemon();
    members_are(&seen, &[INSTANCE, "i-2"], &daemon);
    member.group.change(|group| group.fellows = vec![fellow("i-3", "InService")]);
    member.host.ok(&["reload"]);
    members_are(&seen, &[INSTANCE, "i-3"], &daemon);
}

#[test]
fn shutdown_runs_after_the_applications_stopped_and_before_the_instance_goes() {
    let member = Member::new("");
    let (wait, gate) = gate(&member.host, "shutdown");
    script(&member.host, "Shutdown", "10-save", &wait);
    // A script that delays the end.
    script(&member.host, "Deploy", "10-hangs", "sleep 1000");
    member.host.release(&Bundle::new(&member.host, "v1").app().all_hooks().write(), &[]);
    let daemon = member.daemon();
    runs(&member.host, "Deploy 10-hangs", &daemon);
    member.moves("Terminated", "Terminating:Wait");
    runs(&member.host, "Shutdown 10-save", &daemon);
    assert_eq!(member.host.hook_lines().last().unwrap(), "Shutdown 10-save");
    assert_eq!(ran(&member.host, "v1 ApplicationStop"), 1);
    daemon.kill();
    assert_eq!(member.group.state(), "Terminating:Wait");
    let again = member.daemon();
    again.says("hostler runs");
    gate.open();
    member.ends_with("CONTINUE", &again);
    assert_eq!(ran(&member.host, "Shutdown 10-save"), 1);
}

#[test]
fn a_failed_shutdown_is_abandoned_where_that_is_wished() {
    let member = Member::new(", abandon_failed_shutdown: true");
    script(&member.host, "Shutdown", "10-save", "exit 1");
    let daemon = member.daemon();
    daemon.says("hostler runs");
    member.moves("Terminated", "Terminating:Wait");
    member.ends_with("ABANDON", &daemon);
    daemon.says("Shutdown failed: 10-save: exit status 1");
}
