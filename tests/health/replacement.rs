//! Hosts that stay unhealthy are reported to their Auto Scaling group, one at a time.

use serde_json::Value;

use super::*;
use crate::support::auto_scaling::{AutoScaling, SECRET};
use crate::support::host::Running;
use crate::support::imds::Imds;
use crate::support::s3_front::ACCESS_KEY;

const FIRST: &str = "i-0aaaaaaaaaaaaaaaa";
const SECOND: &str = "i-0bbbbbbbbbbbbbbbb";

const ON: &str = "auto_scaling: {poll: 1s, set_instance_health_after: 1s}";
const OFF: &str = "auto_scaling: {poll: 1s}";

/// One host of the group with its application.
struct Fellow {
    host: Host,
    imds: Imds,
    application: Application,
}

impl Fellow {
    fn new(instance: &str) -> Self {
        let imds = Imds::start(instance);
        imds.change(|instance| instance.target_state = Some("InService".to_owned()));
        Self { host: Host::new(), imds, application: Application::new() }
    }
}

/// Two hosts that follow the channel in the first one's store.
struct Fleet {
    group: AutoScaling,
    first: Fellow,
    second: Fellow,
}

impl Fleet {
    /// The release v1 is in the channel.
    fn new() -> Self {
        let group = AutoScaling::start(FIRST);
        group.enter("InService", "InService");
        group.change(|group| group.fellows.push((SECOND.to_owned(), "InService".to_owned())));
        let fleet = Self { group, first: Fellow::new(FIRST), second: Fellow::new(SECOND) };
        fleet.first.host.release(&bundle(&fleet.first.host, "v1", ""), &[]);
        fleet
    }

    fn configure(&self, fellow: &Fellow, auto_scaling: &str) {
        fellow.host.configure(&format!(
            "{auto_scaling}\ngroups: [{{application: shop, group: web, channel: '{}', poll: 1s, health: [{{http: {{url: \
             '{}'}}, interval: 1s, successes: 1, failures: 1, grace: 1s}}]}}]\n",
            self.first.host.store().display(),
            fellow.application.url()
        ));
    }

    /// The daemon, once the release is deployed and healthy.
    fn serves(&self, fellow: &Fellow, auto_scaling: &str) -> Running {
        self.configure(fellow, auto_scaling);
        let daemon = self.daemon(fellow);
        fellow.host.status_when("it serves", |s| s["condition"] == "good" && s["health"]["colour"] == "green");
        daemon
    }

    fn daemon(&self, fellow: &Fellow) -> Running {
        let mut command = fellow.host.command(&["run"]);
        command.env("AWS_ENDPOINT_URL", self.group.url()).env("AWS_REGION", "eu-central-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", fellow.imds.url());
        let daemon = fellow.host.start_command(command);
        daemon.says("hostler runs");
        daemon
    }

    fn fellow(&self, instance: &str) -> &Fellow {
        if instance == FIRST { &self.first } else { &self.second }
    }

    /// The instances reported so far.
    fn reported(&self) -> Vec<String> {
        assert_eq!(self.group.change(|group| group.wrong.clone()), Vec::<String>::new());
        self.group.change(|group| group.reported.clone())
    }

    fn claim_file(&self) -> PathBuf {
        self.first.host.store().join("shop/web/unhealthy.json")
    }

    /// The holder of the claim.
    fn holder(&self) -> Option<String> {
        let claim: Value = serde_json::from_slice(&fs::read(self.claim_file()).ok()?).unwrap();
        Some(claim["instance"].as_str().unwrap().to_owned())
    }

    fn holder_becomes(&self, holder: Option<&str>, daemons: &[&Running]) {
        eventually(&format!("the claim is that of {holder:?}"), PATIENCE, || {
            let found = self.holder();
            let said: String = daemons.iter().map(|daemon| daemon.said()).collect();
            if found.as_deref() == holder { Ok(()) } else { Err(format!("{found:?}\n{said}")) }
        });
    }

    fn reported_becomes(&self, reported: &[&str], daemons: &[&Running]) {
        eventually(&format!("{reported:?} are reported"), PATIENCE, || {
            let found = self.reported();
            let said: String = daemons.iter().map(|daemon| daemon.said()).collect();
            if found == reported { Ok(()) } else { Err(format!("{found:?}\n{said}")) }
        });
    }

    /// Waits until the daemons have asked about instances `more` times: turns of all daemons have passed.
    fn asked_on(&self, more: usize) {
        let asked = self.group.described();
        eventually("the group is asked on", PATIENCE, || {
            let now = self.group.described();
            if now >= asked + more { Ok(()) } else { Err(format!("{asked}, {now}")) }
        });
    }
}

#[test]
fn of_two_unhealthy_hosts_one_is_replaced_and_then_the_other() {
    let fleet = Fleet::new();
    let [first, second] = [&fleet.first, &fleet.second].map(|fellow| fleet.serves(fellow, ON));
    for fellow in [&fleet.first, &fleet.second] {
        fellow.application.answers(503);
    }
    let reported = eventually("a host is reported", PATIENCE, || {
        fleet.reported().pop().ok_or_else(|| format!("{}{}", first.said(), second.said()))
    });
    assert_eq!(fleet.holder().as_ref(), Some(&reported));
    // The other host asks for the holder again and again, and does nothing while the holder is a member.
    fleet.asked_on(6);
    assert_eq!((fleet.reported(), fleet.holder()), (vec![reported.clone()], Some(reported.clone())));
    let (daemon, other) = if reported == FIRST { (&first, SECOND) } else { (&second, FIRST) };
    daemon.says("was told that this host is unhealthy");
    // Even when healthy again, the instance is leaving: no host takes its place before it is gone.
    fleet.fellow(&reported).application.answers(200);
    fleet.fellow(&reported).host.status_when("it is healthy again", |s| s["health"]["colour"] == "yellow");
    fleet.asked_on(6);
    assert_eq!((fleet.reported().len(), fleet.holder()), (1, Some(reported.clone())));
    fleet.group.change(|group| {
        if reported == FIRST {
            group.state = "Terminated".to_owned();
        } else {
            group.fellows.clear();
        }
    });
    fleet.reported_becomes(&[&reported, other], &[&first, &second]);
    assert_eq!(fleet.holder().as_deref(), Some(other));
}

#[test]
fn a_host_that_is_healthy_again_before_it_was_reported_gives_its_claim_back() {
    let fleet = Fleet::new();
    fleet.group.change(|group| group.denied = vec!["SetInstanceHealth"]);
    let first = fleet.serves(&fleet.first, ON);
    fleet.first.application.answers(503);
    first.says("autoscaling:SetInstanceHealth");
    assert_eq!(fleet.holder().as_deref(), Some(FIRST));
    fleet.first.application.answers(200);
    fleet.holder_becomes(None, &[&first]);
    fleet.group.change(|group| group.denied.clear());
    let second = fleet.serves(&fleet.second, ON);
    fleet.second.application.answers(503);
    fleet.reported_becomes(&[SECOND], &[&first, &second]);
}

#[test]
fn a_reload_that_turns_it_off_gives_the_claim_back() {
    let fleet = Fleet::new();
    fleet.group.change(|group| group.denied = vec!["SetInstanceHealth"]);
    let first = fleet.serves(&fleet.first, ON);
    fleet.first.application.answers(503);
    fleet.holder_becomes(Some(FIRST), &[&first]);
    fleet.configure(&fleet.first, OFF);
    fleet.first.host.ok(&["reload"]);
    fleet.holder_becomes(None, &[&first]);
    assert_eq!(fleet.reported(), Vec::<String>::new());
}

#[test]
fn killed_between_claim_and_report_the_same_host_goes_on() {
    let fleet = Fleet::new();
    fleet.group.change(|group| group.hold = Some(("SetInstanceHealth", 1, false)));
    let first = fleet.serves(&fleet.first, ON);
    fleet.first.application.answers(503);
    eventually("the report is on its way", PATIENCE, || {
        if fleet.group.change(|group| group.held) { Ok(()) } else { Err(first.said()) }
    });
    first.kill();
    let claim = fs::read(fleet.claim_file()).unwrap();
    let second = fleet.serves(&fleet.second, ON);
    fleet.second.application.answers(503);
    fleet.second.host.status_when("it is unhealthy", |s| s["health"]["colour"] == "red");
    fleet.asked_on(4);
    let again = fleet.daemon(&fleet.first);
    fleet.reported_becomes(&[FIRST], &[&again, &second]);
    assert_eq!(fs::read(fleet.claim_file()).unwrap(), claim, "it is the same claim");
}

#[test]
fn a_report_that_the_grace_period_swallows_is_made_again() {
    let fleet = Fleet::new();
    fleet.group.change(|group| group.in_grace_period = true);
    let first = fleet.serves(&fleet.first, ON);
    fleet.first.application.answers(503);
    fleet.reported_becomes(&[FIRST], &[&first]);
    fleet.group.change(|group| group.in_grace_period = false);
    fleet.reported_becomes(&[FIRST, FIRST], &[&first]);
    assert_eq!(first.said().matches("was told that this host is unhealthy").count(), 1);
}

#[test]
fn beside_a_document_that_is_no_claim_nobody_is_reported_until_it_is_deleted() {
    let fleet = Fleet::new();
    fs::write(fleet.claim_file(), "{\"version\": 2}").unwrap();
    let first = fleet.serves(&fleet.first, ON);
    fleet.first.application.answers(503);
    first.says("delete it if no host is being replaced");
    fleet.first.host.status_when("it is unhealthy", |s| s["health"]["colour"] == "red");
    assert_eq!(fleet.reported(), Vec::<String>::new());
    fs::remove_file(fleet.claim_file()).unwrap();
    fleet.reported_becomes(&[FIRST], &[&first]);
}

#[test]
fn a_deployment_that_goes_on_is_waited_for() {
    let fleet = Fleet::new();
    let first = fleet.serves(&fleet.first, ON);
    let second = fleet.serves(&fleet.second, ON);
    let gate = Gate::new(&fleet.first.host, "hook");
    let wait = gate.wait();
    let v2 = Bundle::new(&fleet.first.host, "v2").app().hook("AfterInstall", &wait).all_hooks().write();
    let deployment = fleet.first.host.start(&["deploy", v2.to_str().unwrap()]);
    fleet.first.host.status_when("it deploys", |s| s["condition"] == "deploying");
    for fellow in [&fleet.first, &fleet.second] {
        fellow.application.answers(503);
    }
    fleet.reported_becomes(&[SECOND], &[&first, &second]);
    // Only its deployment holds the first host back.
    fleet.group.change(|group| group.fellows.clear());
    fleet.asked_on(4);
    assert_eq!((fleet.reported().len(), fleet.holder().as_deref()), (1, Some(SECOND)));
    fleet.first.application.answers(200);
    gate.open();
    deployment.end().with_code(0);
    fleet.first.application.answers(503);
    fleet.reported_becomes(&[SECOND, FIRST], &[&first, &second]);
    assert_eq!(fleet.holder().as_deref(), Some(FIRST));
}

#[test]
fn by_default_nobody_is_reported() {
    let fleet = Fleet::new();
    let _first = fleet.serves(&fleet.first, OFF);
    let _second = fleet.serves(&fleet.second, ON);
    for fellow in [&fleet.first, &fleet.second] {
        fellow.application.answers(503);
    }
    fleet.first.host.status_when("it is unhealthy", |s| s["health"]["colour"] == "red");
    // The enabled host shows that there was time enough for both.
    fleet.reported_becomes(&[SECOND], &[]);
    // Nothing holds it up any more, and the disabled host takes nothing over.
    fleet.group.change(|group| group.fellows.clear());
    fleet.asked_on(4);
    assert_eq!((fleet.reported(), fleet.holder()), (vec![SECOND.to_owned()], Some(SECOND.to_owned())));
}
