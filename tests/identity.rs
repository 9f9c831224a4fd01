//! The agent's own identity: waiting for the metadata service, images of running hosts, `seal`.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Gate, Host, PATIENCE, Running};
use crate::support::imds::{Fault, Imds};

const FIRST: &str = "i-0aaaaaaaaaaaaaaa1";
const SECOND: &str = "i-0bbbbbbbbbbbbbbb2";

/// The command with a metadata service at this address.
fn asking(mut command: Command, endpoint: &str) -> Command {
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint);
    command
}

fn daemon_on(host: &Host, endpoint: &str) -> Running {
    let store = host.store();
    let arguments = ["run", "--channel", store.to_str().unwrap(), "--poll", "1s"];
    host.start_command(asking(host.command(&arguments), endpoint))
}

fn document(host: &Host) -> serde_json::Value {
    host.ok(&["status", "--json"]).json()
}

fn waiting(host: &Host) -> Option<String> {
    document(host)["daemon"]["waiting"].as_str().map(str::to_owned)
}

/// Waits until the daemon reports this host id.
fn known_as(host: &Host, id: &str) {
    eventually("the daemon knows its host", PATIENCE, || {
        let document = document(host);
        let known =
            document["instance"] == id && document["daemon"]["waiting"].is_null() && !document["daemon"].is_null();
        if known { Ok(()) } else { Err(document.to_string()) }
    });
}

fn deploys(host: &Host, id: &str, bundle: &std::path::Path) {
    let mut command = host.command(&["deploy", bundle.to_str().unwrap()]);
    command.env("HOSTLER_INSTANCE_ID", id);
    Ended::of(command).with_code(0);
}

#[test]
fn the_daemon_waits_for_the_metadata_service_and_answers_meanwhile() {
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]);
    let service = Imds::start(FIRST);
    service.change(|instance| instance.fault = Some(Fault::ErrorPage(u32::MAX)));
    let daemon = daemon_on(&host, &service.url());
    eventually("it says what it waits for and why", PATIENCE, || match host.run(&["status"]) {
        said if said.out.contains("status 500: \"<html>") && said.out.contains("waiting for the instance") => Ok(()),
        said => Err(format!("{said:?}\n{}", daemon.said())),
    });
    let health = host.run(&["status", "--health"]).with_code(1);
    assert!(health.out.contains("waiting for the instance metadata service"), "{health:?}");
    host.ok(&["status", "--metrics"]).saying(&["hostler_waiting 1"]);
    let bundle = Bundle::new(&host, "v2").app().write();
    host.deploy(&bundle, &[]).with_code(3).saying(&["does nothing yet: waiting for the instance metadata service"]);
    assert!(!host.at("srv/app").exists());
    service.change(|instance| instance.fault = None);
    known_as(&host, FIRST);
    host.status_when("the release is deployed", |s| s["condition"] == "good");
    host.ok(&["status", "--health"]);
    assert_eq!(host.history()[0]["host"], FIRST);
    // Logged once for each problem, not for each request.
    assert_eq!(daemon.err().matches("waiting for the instance metadata service").count(), 1, "{}", daemon.err());
}

#[test]
fn a_daemon_that_waits_can_be_stopped_and_told_its_name() {
    for by_signal in [true, false] {
        let host = Host::new();
        let service = Imds::start(FIRST);
        service.change(|instance| instance.fault = Some(Fault::SwitchedOff));
        let daemon = daemon_on(&host, &service.url());
        eventually("it waits", PATIENCE, || {
            waiting(&host).filter(|why| why.contains("403")).ok_or_else(|| daemon.said())
        });
        if by_signal {
            daemon.signal(Signal::SIGTERM);
        } else {
            host.configure("instance_id: i-by-hand\n");
            host.ok(&["reload"]);
            known_as(&host, "i-by-hand");
            host.ok(&["stop"]);
        }
        daemon.end().with_code(0);
    }
}

#[test]
fn a_verb_that_cannot_wait_says_what_to_do() {
    let host = Host::new();
    let service = Imds::start(FIRST);
    service.change(|instance| instance.fault = Some(Fault::NoTokens));
    let bundle = Bundle::new(&host, "v1").app().write();
    let deploy = ["deploy", bundle.to_str().unwrap()];
    let ended = Ended::of(asking(host.command(&deploy), &service.url())).with_code(1);
    ended.saying(&["not known which host this is", "version 1 of the instance metadata", "HOSTLER_INSTANCE_ID"]);
    let mut wrong = host.command(&deploy);
    wrong.env("HOSTLER_INSTANCE_ID", "not a name");
    Ended::of(wrong).with_code(2).saying(&["HOSTLER_INSTANCE_ID cannot name this host"]);
    Ended::of(asking(host.command(&deploy), "ftp://x")).with_code(2).saying(&["no address", "http://169.254.169.254"]);
    service.change(|instance| instance.fault = None);
    Ended::of(asking(host.command(&deploy), &service.url())).with_code(0);
    assert_eq!(document(&host)["instance"], FIRST);
}

#[test]
fn off_ec2_nobody_asks_and_on_ec2_everybody() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let service = Imds::start(FIRST);
    let mut disabled = asking(host.command(&["deploy", bundle.to_str().unwrap()]), &service.url());
    disabled.env("AWS_EC2_METADATA_DISABLED", "true");
    Ended::of(disabled).with_code(0);
    assert_eq!(service.requests().len(), 0);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(document(&host)["instance"], name.trim());
    // The firmware of this host says EC2; the refused address shows that the agent asked there.
    let ec2 = Host::new();
    crate::support::host::write(&ec2.at("sys/class/dmi/id/sys_vendor"), "Amazon EC2\n");
    let mut command = ec2.command(&["deploy", bundle.to_str().unwrap()]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5");
    Ended::of(command).with_code(2).saying(&["IPv4 or IPv6"]);
}

#[test]
fn a_host_that_is_renamed_stays_the_same_and_a_verb_without_the_name_does_no_harm() {
    let host = Host::new();
    deploys(&host, FIRST, &Bundle::new(&host, "v1").app().all_hooks().write());
    host.deploy(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]).with_code(0);
    assert_eq!(document(&host)["instance"], FIRST);
    assert!(host.history().iter().all(|record| record["host"] == FIRST));
    host.ok(&["rollback"]);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v1\n");
}

#[test]
fn an_image_of_a_running_host_becomes_another_host() {
    let host = Host::new();
    let first = Bundle::new(&host, "v1").app().all_hooks().write();
    host.release(&first, &[]);
    let service = Imds::start(FIRST);
    let daemon = daemon_on(&host, &service.url());
    known_as(&host, FIRST);
    host.status_when("the release is deployed", |s| s["condition"] == "good");
    daemon.kill();
    host.clear_hook_lines();

    // The same disk boots as another instance.
    service.change(|instance| instance.id = SECOND.to_owned());
    let daemon = daemon_on(&host, &service.url());
    known_as(&host, SECOND);
    daemon.says(&format!("this host is {SECOND} and its state came from an image of {FIRST}"));
    // It gets the release with all its hooks, like every new instance. The files in the image are known as the group's:
    // otherwise the Install would treat them as foreign.
    eventually("the release is deployed again", PATIENCE, || {
        let lines = host.hook_lines();
        if lines.last().is_some_and(|line| line == "v1 AfterAllowTraffic") { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    let status = host.status_when("it is good", |s| s["condition"] == "good");
    assert_eq!(status["highest_sequence"], 1);
    let lines = host.hook_lines();
    assert!(lines.contains(&"v1 ApplicationStop".to_owned()), "the image's application is stopped first: {lines:?}");
    // A new chain; the former chain lies beside it, whole.
    let history = host.history();
    assert_eq!((&history[0]["kind"], &history[0]["former"]), (&"sealed".into(), &FIRST.into()));
    assert!(history.iter().all(|record| record["host"] == SECOND), "{history:?}");
    host.ok(&["history", "--verify"]);
    let former = fs::read_to_string(host.state().join(format!("history-of-{FIRST}.ndjson"))).unwrap();
    assert!(former.lines().count() > 5 && former.lines().all(|line| line.contains(FIRST)), "{former}");
    // Another start as the same host changes nothing.
    let before = host.history().len();
    daemon.kill();
    host.clear_hook_lines();
    let _daemon = daemon_on(&host, &service.url());
    known_as(&host, SECOND);
    host.release(&Bundle::new(&host, "v2").app().all_hooks().write(), &[]);
    host.status_when("the next release is deployed", |s| s["highest_sequence"] == 2 && s["condition"] == "good");
    assert!(host.history().len() > before);
    assert_eq!(host.history().iter().filter(|record| record["kind"] == "sealed").count(), 1);
}

#[test]
fn a_deployment_that_went_on_in_the_image_is_given_up() {
    let host = Host::new();
    let gate = Gate::new(&host, "hook");
    let body = gate.wait();
    deploys(&host, FIRST, &Bundle::new(&host, "v1").app().all_hooks().write());
    let second = Bundle::new(&host, "v2").app().hook("AfterInstall", &body).all_hooks().write();
    let mut command = host.command(&["deploy", second.to_str().unwrap()]);
    command.env("HOSTLER_INSTANCE_ID", FIRST);
    let deploy = host.start_command(command);
    eventually("it is in the middle", PATIENCE, || {
        let lines = host.hook_lines();
        if lines.iter().any(|line| line == "v2 AfterInstall") { Ok(()) } else { Err(deploy.said()) }
    });
    deploy.kill();
    gate.open();
    host.clear_hook_lines();
    let mut once = host.command(&["run", "--once"]);
    once.env("HOSTLER_INSTANCE_ID", SECOND);
    // What was going on is given up, so there is nothing to do.
    let ended = Ended::of(once).with_code(2);
    assert!(ended.err.contains("was going on in the image and is given up"), "{ended:?}");
    let lines = host.hook_lines();
    assert!(lines.is_empty(), "nothing of the other host's deployment is run: {lines:?}");
    let status = host.status();
    assert!(status["active"].is_null(), "{status}");
    let installed = status["installed"]["revision"]["location"].as_str().unwrap().to_owned();
    assert!(installed.ends_with("bundle-v2"), "what lies on the disk stays known: {installed}");
    // The next deployment replaces it without a conflict.
    deploys(&host, SECOND, &Bundle::new(&host, "v3").app().all_hooks().write());
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v3\n");
    assert!(!host.at("srv/app/only-v2").exists());
}

#[test]
fn seal_forgets_the_instance_and_keeps_what_is_installed() {
    let host = Host::new();
    host.configure("groups: [{application: shop, group: web, channel: /nowhere}]\n");
    for version in ["v1", "v2", "v3"] {
        deploys(
            &host,
            FIRST,
            &Bundle::new(&host, version).app().hook("AfterInstall", "echo secret").all_hooks().write(),
        );
    }
    assert_eq!(host.kept_deployments().len(), 3);
    let tree = |host: &Host| crate::support::host::tree(&host.at("srv"));
    let before = tree(&host);
    // As a daemon that ships logs writes them.
    for log in ["agent.log", "agent.log.1", "metrics.log"] {
        fs::write(host.state().join(log), format!("about {FIRST}\n")).unwrap();
    }
    let said = host.ok(&["seal"]);
    assert!(said.out.contains(&format!("what {FIRST} did is forgotten")), "{said:?}");
    assert_eq!(tree(&host), before, "the installed files are as they were");
    assert!(host.at("etc/hostler/config.yaml").exists());
    // No remaining file names the instance, not even the ledger's other slot, and no output of a hook remains.
    for (path, _) in crate::support::host::tree(&host.state()) {
        let path = host.state().join(path);
        if path.is_file() {
            let content = fs::read(&path).unwrap();
            for secret in [FIRST, "[stdout]secret"] {
                let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds {secret}", path.display());
            }
        }
    }
    assert!(host.kept_deployments().len() <= 2, "{:?}", host.kept_deployments());
    assert!(document(&host)["instance"].is_null());
    assert!(host.status()["installed"]["revision"]["location"].as_str().unwrap().ends_with("bundle-v3"));
    host.ok(&["seal"]).saying(&["no instance was known"]);
    // The image boots: the old application is stopped, the files are replaced, and a rollback to the image's revision
    // is possible.
    host.clear_hook_lines();
    deploys(&host, SECOND, &Bundle::new(&host, "v4").app().all_hooks().write());
    assert!(host.hook_lines().contains(&"v3 ApplicationStop".to_owned()), "{:?}", host.hook_lines());
    assert_eq!(host.history()[0]["kind"], "sealed");
    assert!(host.history()[0].get("former").is_none());
    host.ok(&["history", "--verify"]);
    let mut back = host.command(&["rollback"]);
    back.env("HOSTLER_INSTANCE_ID", SECOND);
    Ended::of(back).with_code(0);
    assert_eq!(fs::read_to_string(host.at("srv/app/version")).unwrap(), "v3\n");
}

#[test]
fn seal_refuses_while_something_goes_on() {
    let host = Host::new();
    host.run(&["seal"]).with_code(0).saying(&["nothing to forget"]);
    let daemon = host.daemon(&[]);
    host.run(&["seal"]).with_code(3).saying(&["the agent runs", "systemctl stop hostler"]);
    let gate = Gate::new(&host, "hook");
    let body = gate.wait();
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", &body).write();
    let deploy = host.start(&["deploy", bundle.to_str().unwrap()]);
    eventually("the hook runs", PATIENCE, || if host.hook_lines().is_empty() { Err(deploy.said()) } else { Ok(()) });
    daemon.kill();
    host.run(&["seal"]).with_code(3).saying(&["has not ended", "hostler run --once"]);
    gate.open();
    host.ok(&["run", "--once"]);
    host.ok(&["seal"]);
    // A name in the configuration would apply to every host.
    host.configure("instance_id: i-1\n");
    host.ok(&["seal"]).saying(&["every host of the image will take this name"]);
}

#[test]
fn seal_keeps_what_an_undo_could_not_put_back_and_names_it() {
    let host = Host::new();
    let v1 = Bundle::new(&host, "v1").content("app/extra", "v1").content("app/x", "1").files("app", "/srv/app").write();
    deploys(&host, FIRST, &v1);
    let extra = host.at("srv/app/extra");
    let body = format!("echo hook > {}; exit 1", extra.display());
    let v2 =
        Bundle::new(&host, "v2").content("app/x", "2").files("app", "/srv/app").hook("AfterInstall", &body).write();
    let mut failing = host.command(&["deploy", v2.to_str().unwrap()]);
    failing.env("HOSTLER_INSTANCE_ID", FIRST);
    Ended::of(failing).with_code(1).saying(&["another program put a file in its place", "kept as"]);
    deploys(&host, FIRST, &v1);
    host.ok(&["seal"]).saying(&["holds files that could not be put back, and stays"]);
    let state = crate::support::host::tree(&host.state());
    let mut saved = state.keys().filter(|path| path.extension().is_some_and(|extension| extension == "saved"));
    let saved = saved.next().expect("the file of v1 is kept");
    assert_eq!(fs::read_to_string(host.state().join(saved)).unwrap(), "v1");
}
