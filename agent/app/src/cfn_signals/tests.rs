//! The controller beside a CloudFormation that fails for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler_aws::fault::Fault;
use hostler_core::cfn_signals::End;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::controller::{Sources, start};
use crate::engine;
use crate::setup::SetupWatch;
use crate::test_support::{listen, logged, setup};

/// When, the target's name, and the status.
type Sent = (Instant, String, &'static str);

/// Answers in this order, and takes every signal after that.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Fault>>>,
    tags: Arc<Mutex<VecDeque<Failure>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Scripted {
    fn failing(times: usize) -> Self {
        let cloud = Self::default();
        cloud.answers.lock().unwrap().extend((0..times).map(|n| Fault::broken(format!("failure {n}"))));
        cloud
    }

    fn times(&self) -> Vec<Instant> {
        self.sent.lock().unwrap().iter().map(|(at, ..)| *at).collect()
    }
}

impl Cloud for Scripted {
    async fn send(
        &self,
        _: &Setup,
        target: &Target,
        signal: &Signal,
    ) -> Result<Result<cfn::Signalled, Fault>, Failure> {
        self.sent.lock().unwrap().push((Instant::now(), target.name(), signal.status));
        Ok(self.answers.lock().unwrap().pop_front().map_or(Ok(cfn::Signalled::Taken), Err))
    }

    async fn target_of_tags(&self, _: &Setup) -> Result<Target, Failure> {
        let failure = self.tags.lock().unwrap().pop_front();
        let target = Target::Resource { stack: "of-tags".to_owned(), resource: "Fleet".to_owned(), region: None };
        failure.map_or(Ok(target), Err)
    }
}

const NAMED: &str = "signals: {failure: true, cloudformation: {stack: web, resource: Fleet}}";
const OF_TAGS: &str = "signals: {failure: true, cloudformation: from_tags}";

/// A host whose first deployment failed, with this configuration.
struct Signalling {
    handle: Handle,
    setups: watch::Sender<Arc<Setup>>,
    _health: watch::Sender<Health>,
}

impl Signalling {
    async fn to(cloud: &Scripted, signals: &str) -> Self {
        let handle = engine::doubles::start(State::default());
        handle.ask(engine::doubles::deploy("d-1", "blue")).await.unwrap();
        handle.state().wait_for(|state| !state.is_busy()).await.unwrap();
        let (setups, setup_watch) = SetupWatch::new(Arc::new(of(signals)));
        let (health, health_watch) = watch::channel(Health::new());
        let sources = Sources::new(setup_watch, handle.state(), health_watch);
        let (cloud, asked) = (cloud.clone(), handle.clone());
        start(&sources, move || Signaller::to(cloud.clone(), asked.clone(), "i-1".parse().unwrap()));
        Self { handle, setups, _health: health }
    }

    fn reload(&self, signals: &str) {
        self.setups.send_replace(Arc::new(of(signals)));
    }

    async fn ends(&self, target: &str) -> End {
        let ended = |state: &Arc<State>| state.signals.get(target).is_some_and(|signalled| signalled.end.is_some());
        let mut state = self.handle.state();
        let found = tokio::time::timeout(Duration::from_secs(86_400), state.wait_for(ended)).await.unwrap().unwrap();
        found.signals.get(target).unwrap().end.clone().unwrap()
    }
}

fn of(signals: &str) -> Setup {
    setup("/nowhere".as_ref(), &format!("groups: [{{application: web, group: blue}}]\n{signals}\n"))
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_fails_is_repeated_with_growing_waits_and_logged_once() {
    listen();
    let cloud = Scripted::failing(5);
    let host = Signalling::to(&cloud, NAMED).await;
    assert_eq!(host.ends("web/Fleet").await, End::Taken);
    let times = cloud.times();
    let waits: Vec<u128> = times.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect();
    assert_eq!(waits.len(), 5);
    for (longest, wait) in [1000, 2000, 4000, 8000, 16_000].into_iter().zip(&waits) {
        assert!((longest / 2..=longest).contains(wait), "{waits:?}");
    }
    assert!(cloud.sent.lock().unwrap().iter().all(|(_, target, status)| target == "web/Fleet" && *status == "FAILURE"));
    let logged = logged();
    let count = |text: &str| logged.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("CloudFormation is not signalled yet"), 1, "{logged:?}");
    assert_eq!(count("failure 0"), 1, "{logged:?}");
    assert_eq!(count("has ended: taken"), 1, "{logged:?}");
    // Nothing is left to do.
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(cloud.times().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn another_target_begins_without_a_wait() {
    let cloud = Scripted::failing(8);
    let host = Signalling::to(&cloud, NAMED).await;
    while cloud.times().len() < 8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let before = Instant::now();
    host.reload(OF_TAGS);
    assert_eq!(host.ends("of-tags/Fleet").await, End::Taken);
    assert_eq!(cloud.times().last(), Some(&before), "at once");
}

#[tokio::test(start_paused = true)]
async fn tags_that_do_not_come_are_asked_for_again_and_then_remembered() {
    listen();
    let cloud = Scripted::failing(2);
    let no_tags = || Failure::say(ExitCode::Failed, "no tags");
    cloud.tags.lock().unwrap().extend([no_tags(), no_tags()]);
    let host = Signalling::to(&cloud, OF_TAGS).await;
    assert_eq!(host.ends("of-tags/Fleet").await, End::Taken);
    assert_eq!(cloud.times().len(), 3);
    let logged = logged();
    let unsent = logged.iter().filter(|line| line.starts_with("WARN: CloudFormation is not signalled yet"));
    assert_eq!(unsent.count(), 1, "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_wish_for_failures_nothing_is_sent() {
    let cloud = Scripted::default();
    let host = Signalling::to(&cloud, "signals: {cloudformation: {stack: web, resource: Fleet}}").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cloud.times(), []);
    drop(host);
}
