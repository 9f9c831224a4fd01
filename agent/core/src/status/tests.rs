use super::*;
use crate::machine::checks::PreparedHealth;
use crate::machine::event::{InstallReport, Prepared, WorkFailure};
use crate::machine::state::{Policy, Request, Revision, Source};
use crate::machine::{Context, Effect, Event, Refusal, WorkResult, step};

pub(crate) struct Host {
    pub(crate) state: State,
    effects: Vec<Effect>,
    now_ms: u64,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self { state: State::default(), effects: Vec::new(), now_ms: 0 }
    }

    pub(crate) fn take(&mut self, event: Event) {
        self.now_ms += 1;
        let context = self.context();
        let stepped = step(std::mem::take(&mut self.state), event, &context);
        stepped.reply.unwrap();
        (self.state, self.effects) = (stepped.state, stepped.effects);
    }

    fn context(&self) -> Context {
        Context {
            now_ms: self.now_ms,
            since_boot_ms: self.now_ms,
            fresh: format!("d-ROLLBACK{}", self.now_ms).parse().unwrap(),
            host: "i-1".parse().unwrap(),
            boot_id: "boot".to_owned(),
            agent_version: "0".to_owned(),
            draining: false,
            room: 1 << 20,
        }
    }

    /// The answer to a release in the channel, without any change.
    pub(crate) fn asked_by_channel(&self, group: &str, number: u64) -> Result<(), Refusal> {
        let request =
            Request { purpose: Purpose::Release(crate::release::Highest::new(number, None)), ..request(group, number) };
        let event = Event::Deploy { id: "d-CHANNEL".parse().unwrap(), request: Box::new(request) };
        step(self.state.clone(), event, &self.context()).reply
    }

    pub(crate) fn finish(&mut self, result: WorkResult) {
        let effect = self.effects[0].number;
        self.take(Event::Finished { effect, result: Box::new(result) });
    }

    pub(crate) fn deploy(&mut self, group: &str, number: u64) {
        let id = format!("d-{group}{number}").parse().unwrap();
        self.take(Event::Deploy { id, request: Box::new(request(group, number)) });
    }

    pub(crate) fn prepare(&mut self) {
        let deployment = self.state.all_active().find(|(_, d)| d.in_flight.as_ref() == self.effects.first());
        let revision = deployment.unwrap().1.request.revision.clone();
        let prepared = Prepared {
            revision,
            hooks: vec![],
            old_hooks: vec![],
            health: PreparedHealth::default(),
            takes_out: false,
            warnings: vec![],
        };
        self.finish(WorkResult::Prepared(Ok(prepared)));
    }

    pub(crate) fn install(&mut self, fails: bool) {
        self.prepare();
        let report = InstallReport { entries: 0, entries_digest: Sha256Digest::of(b""), warnings: vec![] };
        let failure = WorkFailure::other("no");
        self.finish(WorkResult::Installed(if fails { Err(failure) } else { Ok(report) }));
        self.finish(WorkResult::Finished { warnings: vec![] });
    }
}

fn request(group: &str, number: u64) -> Request {
    let content = Sha256Digest::of(&number.to_le_bytes());
    Request {
        key: GroupKey::new("web".parse().unwrap(), group.parse().unwrap()),
        purpose: Purpose::ByHand,
        asked_by: "test".to_owned(),
        source: Source::Path { path: "/bundle".into() },
        revision: Revision {
            location: "/bundle".into(),
            digest: Some(content),
            size: None,
            bundle_type: None,
            label: None,
        },
        trust: Default::default(),
        policy: Policy::default(),
    }
}

#[test]
fn one_line_says_what_goes_on_and_what_is_wrong_before_what_is_good() {
    let mut host = Host::new();
    let line = |host: &Host| one_line(&host.state, &Health::new());
    assert_eq!(line(&host), "nothing was deployed on this host");
    host.deploy("a", 1);
    assert_eq!(line(&host), "web/a: deploying 7c9fa136 as d-a1: DownloadBundle");
    host.install(false);
    assert_eq!(line(&host), "web/a: good, 7c9fa136");
    host.deploy("b", 2);
    host.install(true);
    assert_eq!(line(&host), "web/b: d-b2 failed in Install; nothing is installed; web/a: good, 7c9fa136");
    for group in ["c", "d"] {
        host.deploy(group, 1);
        host.install(false);
    }
    host.deploy("d", 3);
    let begin = "web/d: deploying 35be322d as d-d3: DownloadBundle; web/b: d-b2 failed in Install; ";
    assert_eq!(line(&host), format!("{begin}nothing is installed; web/a: good, 7c9fa136; 1 more"));
}

#[test]
fn a_deployment_shows_since_when_its_current_event_goes_on() {
    let mut host = Host::new();
    host.now_ms = 1000;
    host.deploy("a", 1);
    host.now_ms = 9000;
    host.prepare();
    let shown = status(&host.state, None, 10_000).groups.remove(0).active.unwrap();
    assert_eq!((shown.event, shown.started_ms), (Some(LifecycleEvent::Install), 1001));
    assert_eq!(shown.event_started_ms, Some(9001));
}

#[test]
fn a_rollback_shows_the_failure_that_it_made_good() {
    let mut host = Host::new();
    host.deploy("a", 1);
    host.install(false);
    host.deploy("a", 2);
    host.install(true);
    host.prepare();
    host.finish(WorkResult::Finished { warnings: vec![] });
    let shown = status(&host.state, None, 0).groups.remove(0);
    assert_eq!(shown.condition, Condition::RolledBack);
    assert_eq!(shown.failed.unwrap().failure.unwrap().message, "no");
    assert_eq!(one_line(&host.state, &Health::new()), "web/a: rolled back, 7c9fa136");
}

#[test]
fn what_is_wrong_now_is_named() {
    let mut host = Host::new();
    host.deploy("a", 1);
    let key = GroupKey::new("web".parse().unwrap(), "a".parse().unwrap());
    let channel = ChannelStatus {
        key,
        channel: "s3://b".to_owned(),
        poll_seconds: 60,
        last_poll_ms: Some(1_000_000),
        last_success_ms: Some(1_000_000),
        polls: 1,
        errors: 0,
        error: None,
    };
    let daemon = Daemon {
        agent_version: "1".to_owned(),
        pid: 1,
        started_ms: 0,
        waiting: None,
        not_followed: None,
        channels: vec![channel.clone()],
        logs: None,
        reports: Vec::new(),
        health: Health::new(),
    };
    let of = |host: &Host, daemon: Option<&Daemon>, now| problems(&status(&host.state, daemon.cloned(), now), now);
    assert_eq!(of(&host, None, 0), ["no daemon runs"]);
    assert_eq!(of(&host, Some(&daemon), 1_300_000), [""; 0], "a deployment that goes on is no problem");
    let stale = of(&host, Some(&daemon), 1_300_001);
    assert_eq!(stale, ["web/a: s3://b has not been read for too long: no poll has ended yet"]);
    host.install(true);
    let waiting = Daemon {
        waiting: Some("waits".to_owned()),
        not_followed: Some("the agent runs".to_owned()),
        channels: vec![ChannelStatus { last_success_ms: None, error: Some("denied".to_owned()), ..channel }],
        ..daemon
    };
    let all = of(&host, Some(&waiting), 300_001);
    assert_eq!(all[..3], ["waits", "the agent runs", "web/a: the last deployment failed"]);
    assert!(all[3].ends_with("for too long: denied"), "{all:?}");
}

#[test]
fn an_install_that_cannot_be_undone_yet_is_said_everywhere() {
    let mut host = Host::new();
    host.deploy("a", 1);
    host.prepare();
    let (journal, why) = ("d-a1".parse().unwrap(), "/srv is read-only".to_owned());
    host.finish(WorkResult::NotUndone(crate::machine::event::StillOpen { journal, why, cause: None }));
    let line = one_line(&host.state, &Health::new());
    assert_eq!(line, "web/a: the Install of d-a1 cannot be undone yet: /srv is read-only");
    let daemon = Daemon {
        agent_version: "0".to_owned(),
        pid: 1,
        started_ms: 0,
        waiting: None,
        not_followed: None,
        channels: vec![],
        logs: None,
        reports: vec![],
        health: Health::new(),
    };
    let shown = status(&host.state, Some(daemon), 10);
    assert_eq!(shown.groups[0].condition, Condition::NotUndone);
    assert_eq!(problems(&shown, 10), ["web/a: the Install of d-a1 cannot be undone yet: /srv is read-only"]);
    let document = serde_json::to_value(&shown).unwrap();
    assert_eq!(document["groups"][0]["condition"], "not_undone");
    assert_eq!(document["groups"][0]["not_undone"]["why"], "/srv is read-only");
}

#[test]
fn a_label_is_shown_before_the_digest_as_long_as_its_revision_is_known() {
    let mut host = Host::new();
    let plain = request("a", 1);
    let revision = Revision { label: Some("1.4.2".parse().unwrap()), ..plain.revision.clone() };
    let request = Box::new(Request { revision: revision.clone(), ..plain });
    host.take(Event::Deploy { id: "d-a1".parse().unwrap(), request });
    assert_eq!(one_line(&host.state, &Health::new()), "web/a: deploying 1.4.2 (7c9fa136) as d-a1: DownloadBundle");
    host.install(false);
    assert_eq!(one_line(&host.state, &Health::new()), "web/a: good, 1.4.2 (7c9fa136)");
    host.deploy("a", 2);
    host.install(false);
    let shown = status(&host.state, None, 0).groups.remove(0);
    assert_eq!((shown.earlier[0].name.as_str(), &shown.earlier[0].label), ("1.4.2 (7c9fa136)", &revision.label));
    assert_eq!(shown.last.unwrap().label, None);
    assert_eq!(revision.name_and_place(), "1.4.2 (7c9fa136) from /bundle");
    assert_eq!(Revision { digest: None, ..revision }.name_and_place(), "1.4.2 (/bundle)");
}

#[test]
fn a_revision_of_an_older_state_has_no_label() {
    let revision = request("a", 1).revision;
    let written = serde_json::to_value(&revision).unwrap();
    assert!(written.get("label").is_none(), "{written}");
    assert_eq!(serde_json::from_value::<Revision>(written).unwrap(), revision);
}

#[test]
fn what_a_daemon_of_an_earlier_version_sends_without_a_name_gets_one() {
    let mut host = Host::new();
    for number in [1, 2] {
        host.deploy("a", number);
        host.install(false);
    }
    let shown = status(&host.state, None, 0);
    let mut sent = serde_json::to_value(&shown).unwrap();
    assert!(sent["groups"][0]["earlier"][0].as_object_mut().unwrap().remove("name").is_some());
    let mut read: Status = serde_json::from_value(sent).unwrap();
    assert_eq!(read.groups[0].earlier[0].name, "");
    let mut of_directory = read.clone();
    read.name_earlier();
    assert_eq!(read, shown);
    of_directory.groups[0].earlier[0].revision = None;
    of_directory.name_earlier();
    assert_eq!(of_directory.groups[0].earlier[0].name, "/bundle");
}
