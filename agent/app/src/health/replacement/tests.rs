//! The controller beside a group that fails for a while, and a claim in a real store.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use hostler_core::codes::ExitCode;
use hostler_core::health::replacement::Standing;
use hostler_core::health::{Colour, HealthReport};
use tokio::time::Instant;

use super::*;
use crate::controller::start;
use crate::failure::Failure;
use crate::test_support::{Host, listen, logged, setup};

/// A group that answers in this order, and then as it should.
#[derive(Clone, Default)]
struct Scripted {
    failures: Arc<Mutex<VecDeque<Failure>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    is_unhealthy: Arc<Mutex<bool>>,
}

impl Scripted {
    fn answer(&self) -> Result<(), Failure> {
        self.asked.lock().unwrap().push(Instant::now());
        self.failures.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

impl Group for Scripted {
    async fn set_unhealthy(&self, _: &Setup, instance: &InstanceId) -> Result<(), Failure> {
        assert_eq!(instance.as_str(), "i-1");
        self.answer()?;
        *self.is_unhealthy.lock().unwrap() = true;
        Ok(())
    }

    async fn standing(&self, _: &Setup, _: &InstanceId) -> Result<Standing, Failure> {
        self.answer()?;
        Ok(if *self.is_unhealthy.lock().unwrap() { Standing::Unhealthy } else { Standing::InService })
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stays_unhealthy_is_reported_once_the_group_answers_and_says_so_once() {
    listen();
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("store");
    fs::create_dir(&store).unwrap();
    let groups = format!("groups: [{{application: web, group: blue, channel: '{}'}}]", store.display());
    let configured = format!("auto_scaling: {{set_instance_health_after: 5m, poll: 5s}}\n{groups}");
    let host = Host::new(setup(root.path(), &configured));
    let key = GroupKey::new("web".parse().unwrap(), "blue".parse().unwrap());
    let red = HealthReport { colour: Colour::Red, since_ms: 1, causes: Vec::new(), checks: Vec::new() };
    host.health.send_modify(|health| _ = health.insert(key.id(), red));
    let group = Scripted::default();
    let away = || Failure::say(ExitCode::Failed, "the group is away");
    group.failures.lock().unwrap().extend((0..6).map(|_| away()));
    let (given, state, health) = (group.clone(), host.state.subscribe(), host.health.subscribe());
    start(&host.sources, move || {
        UnhealthyReport::to(given.clone(), state.clone(), health.clone(), "i-1".parse().unwrap())
    });
    while !*group.is_unhealthy.lock().unwrap() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let asked = group.asked.lock().unwrap().clone();
    let waits: Vec<u64> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs()).take(6).collect();
    // A look comes every twenty seconds; after the fifth and sixth failure it may not ask yet.
    assert!(waits[..2].iter().all(|wait| (17..=23).contains(wait)), "{waits:?}");
    assert!(waits[4] >= 40 && waits[5] >= 80, "{waits:?}");
    let text = fs::read_to_string(
        hostler_core::store::unhealthy_key(&key).as_str().split('/').fold(store, |at, name| at.join(name)),
    );
    assert!(text.unwrap().contains("\"i-1\""), "the claim is in the store");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let logged = logged();
    let count = |text: &str| logged.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("is tried again: the group is away"), 1, "{logged:?}");
    assert_eq!(count("this host has been unhealthy for long and claims"), 1, "{logged:?}");
    assert_eq!(count("the Auto Scaling group was told that this host is unhealthy"), 1, "{logged:?}");
    assert_eq!(logged.len(), 3, "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_to_be_reported_asks_nothing() {
    let host = Host::new(setup("/nowhere".as_ref(), "auto_scaling: {}"));
    let group = Scripted::default();
    let (given, state, health) = (group.clone(), host.state.subscribe(), host.health.subscribe());
    start(&host.sources, move || {
        UnhealthyReport::to(given.clone(), state.clone(), health.clone(), "i-1".parse().unwrap())
    });
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(*group.asked.lock().unwrap(), []);
}
