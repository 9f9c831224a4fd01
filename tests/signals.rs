//! The daemon's automatic signals: sent once the host is proven healthy, until the service accepts them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::auto_scaling::SECRET;
use crate::support::cloudformation::{Stack, start};
use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, Running};
use crate::support::http_server::{Reply, Server};
use crate::support::imds::Imds;

/// A host in a stack.
pub struct Instance {
    pub host: Host,
    server: Server,
    stack: Arc<Mutex<Stack>>,
}

impl Instance {
    /// A host with these lines below `signals`.
    fn new(signals: &str) -> Self {
        Self::on(Host::new(), signals)
    }

    pub fn on(host: Host, signals: &str) -> Self {
        let (server, stack) = start("eu-central-1");
        let instance = Self { host, server, stack };
        instance.configure(signals);
        instance
    }

    fn configure(&self, signals: &str) {
        self.host.configure(&format!("signals: {{{signals}}}\n"));
    }

    pub fn daemon(&self) -> Running {
        self.daemon_with(&[("HOSTLER_INSTANCE_ID", "i-1"), ("AWS_EC2_METADATA_DISABLED", "true")])
    }

    fn daemon_with(&self, environment: &[(&str, &str)]) -> Running {
        let store = self.host.store();
        let mut command = self.host.command(&["run", "--channel", store.to_str().unwrap(), "--poll", "1s"]);
        command.env("AWS_ENDPOINT_URL", self.server.url()).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.envs(environment.iter().copied());
        self.host.start_command(command)
    }

    pub fn release(&self, version: &str, validate: &str) {
        let bundle = Bundle::new(&self.host, version).app().hook("ValidateService", validate).write();
        self.host.release(&bundle, &[]);
    }

    pub fn change(&self, change: impl FnOnce(&mut Stack)) {
        change(&mut self.stack.lock().unwrap());
    }

    pub fn signals(&self) -> Vec<(String, String)> {
        let stack = self.stack.lock().unwrap();
        assert_eq!(stack.wrong, Vec::<String>::new());
        stack.signals.clone()
    }

    /// Waits until the signal to the target has ended with this result.
    pub fn ended(&self, target: &str, end: &str, daemon: &Running) -> Value {
        eventually(&format!("the signal to {target} is {end}"), PATIENCE, || {
            let shown = self.host.run(&["status", "--json"]);
            let document: Value = serde_json::from_str(&shown.out).map_err(|e| format!("{e}: {}", daemon.said()))?;
            let found = document["cfn_signals"][target].clone();
            if found["end"]["end"] == end { Ok(found) } else { Err(format!("{found}\n{}", daemon.said())) }
        })
    }
}

pub const STACK: &str = "cloudformation: {stack: web, resource: Fleet}";

pub fn said(word: &str) -> (String, String) {
    ("i-1".to_owned(), word.to_owned())
}

#[test]
fn a_host_signals_once_when_it_is_proven_and_not_before() {
    let instance = Instance::new(STACK);
    let healthy = Arc::new(AtomicBool::new(false));
    let answered = Arc::clone(&healthy);
    let application = Server::start(move |_| {
        let status = if answered.load(Ordering::SeqCst) { 200 } else { 503 };
        std::future::ready(Reply::new(status, ""))
    });
    let check = format!("{{http: {{url: '{}'}}, interval: 1s, successes: 1}}", application.url());
    let group = format!("groups: [{{application: shop, group: web, health: [{check}]}}]");
    instance.host.configure(&format!("signals: {{{STACK}}}\n{group}\n"));
    instance.release("v1", "");
    let daemon = instance.daemon();
    eventually("the application is asked", PATIENCE, || {
        if application.requests().len() >= 3 { Ok(()) } else { Err(daemon.said()) }
    });
    assert_eq!(instance.signals(), []);
    healthy.store(true, Ordering::SeqCst);
    let found = instance.ended("web/Fleet", "taken", &daemon);
    assert_eq!(found["success"], true, "{found}");
    assert_eq!(instance.signals(), [said("SUCCESS")]);
    instance.host.ok(&["status"]).saying(&["signal to web/Fleet: SUCCESS, taken"]);
    daemon.kill();
    // Neither a restart nor another deployment repeats it.
    instance.release("v2", "");
    let again = instance.daemon();
    instance.host.status_when("v2 is deployed", |status| status["installed"]["sequence"] == 2);
    instance.ended("web/Fleet", "taken", &again);
    assert_eq!(instance.signals(), [said("SUCCESS")]);
}

#[test]
fn a_signal_is_sent_until_it_is_taken() {
    let instance = Instance::new(STACK);
    instance.change(|stack| (stack.throttled, stack.denied) = (1, 1));
    instance.release("v1", "");
    let daemon = instance.daemon();
    instance.ended("web/Fleet", "taken", &daemon);
    assert_eq!(instance.signals(), [said("SUCCESS")]);
    assert_eq!(daemon.err().matches("is tried again").count(), 1, "{}", daemon.said());
}

#[test]
fn a_late_signal_is_as_good_as_one_that_was_taken() {
    let instance = Instance::new(STACK);
    instance.change(|stack| stack.complete = true);
    instance.release("v1", "");
    let daemon = instance.daemon();
    let found = instance.ended("web/Fleet", "nobody_waits", &daemon);
    assert!(found["end"]["message"].as_str().is_some_and(|text| text.contains("CREATE_COMPLETE")), "{found}");
}

#[test]
fn what_was_decided_before_a_kill_is_said_after_it_whatever_happened_meanwhile() {
    for lost in [false, true] {
        let instance = Instance::new(&format!("{STACK}, failure: true"));
        if lost {
            // The service accepted it, but the answer was lost.
            instance.change(|stack| (stack.lost_answers, stack.throttled) = (1, 0));
        } else {
            instance.change(|stack| stack.throttled = u32::MAX);
        }
        instance.release("v1", "");
        let daemon = instance.daemon();
        daemon.says("is tried again");
        daemon.kill();
        instance.change(|stack| stack.throttled = 0);
        instance.release("v2", "exit 1");
        let again = instance.daemon();
        let found = instance.ended("web/Fleet", "taken", &again);
        assert_eq!(found["success"], true, "{found}");
        let signals = instance.signals();
        assert!(!signals.is_empty() && signals.iter().all(|signal| *signal == said("SUCCESS")), "{signals:?}");
    }
}

#[test]
fn a_failed_first_deployment_is_signalled_where_that_is_wished_and_waited_out_elsewhere() {
    let wished = Instance::new(&format!("{STACK}, failure: true"));
    wished.release("v1", "exit 3");
    let daemon = wished.daemon();
    let found = wished.ended("web/Fleet", "taken", &daemon);
    assert!(found["reason"].as_str().is_some_and(|why| why.contains("exit status 3")), "{found}");
    assert_eq!(wished.signals(), [said("FAILURE")]);
    let patient = Instance::new(STACK);
    patient.release("v1", "exit 3");
    let daemon = patient.daemon();
    patient.host.status_when("v1 failed", |status| status["condition"] == "failed");
    patient.release("v2", "");
    patient.ended("web/Fleet", "taken", &daemon);
    assert_eq!(patient.signals(), [said("SUCCESS")]);
}

#[test]
fn stack_and_resource_are_found_in_the_instances_tags() {
    let instance = Instance::new("cloudformation: from_tags");
    instance.release("v1", "");
    let imds = Imds::start("i-1");
    let daemon = instance.daemon_with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.url())]);
    daemon.says("turn on InstanceMetadataTags");
    let tags = [("aws:cloudformation:stack-name", "web"), ("aws:cloudformation:logical-id", "Fleet"), ("Name", "x")];
    let tags: BTreeMap<String, String> = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    imds.change(|metadata| metadata.tags = Some(tags));
    instance.ended("web/Fleet", "taken", &daemon);
    assert_eq!(instance.signals(), [said("SUCCESS")]);
}

#[test]
fn a_wait_condition_hears_it_by_its_url_which_nobody_else_sees() {
    let instance = Instance::new("");
    instance.configure(&format!("wait_condition: '{}/handle?Signature=secret'", instance.server.url()));
    instance.change(|stack| stack.denied = 1);
    instance.release("v1", "");
    let daemon = instance.daemon();
    eventually("the wait condition hears it", PATIENCE, || {
        let heard = instance.stack.lock().unwrap().conditions.clone();
        match heard.as_slice() {
            [one] if one["Status"] == "SUCCESS" && one["UniqueId"] == "i-1" => Ok(()),
            other => Err(format!("{other:?}\n{}", daemon.said())),
        }
    });
    daemon.says("the signal to CloudFormation has ended: taken");
    let shown = instance.host.ok(&["status"]).saying(&["signal to wait condition "]);
    assert!(!format!("{}{}", shown.out, daemon.said()).contains("Signature"), "{}\n{}", shown.out, daemon.said());
}

#[test]
fn a_configuration_that_names_nobody_is_refused() {
    let host = Host::new();
    for (signals, said) in [
        ("cloudformation: {stack: web}", "names no stack and resource"),
        ("cloudformation: tags", "must be from_tags or a stack and a resource"),
        ("wait_condition: handle", "must be the address of a wait condition"),
        ("stack: web", "`stack` is not a key of `signals`"),
    ] {
        host.configure(&format!("signals: {{{signals}}}\n"));
        host.run(&["run", "--once"]).with_code(2).saying(&[said]);
    }
}
