//! The controller beside a metadata service and a group that fail for a while.

use std::collections::VecDeque;
use std::sync::Mutex;

use hostler_aws::asg::{Answer, GroupHook, Member};
use hostler_aws::imds::ImdsFault;
use hostler_core::machine::State;

use super::*;
use crate::controller::{Sources, start};
use crate::engine;
use crate::failure::Failure;
use crate::setup::Setup;
use crate::test_support::{listen, logged, setup};

/// An instance on its way into service, whose launch hook waits.
#[derive(Default)]
struct World {
    metadata_is_away: bool,
    metadata_asked: Vec<Instant>,
    refusals: VecDeque<Fault>,
    completions: Vec<Instant>,
    is_in_service: bool,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<World>>);

impl Scripted {
    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl Cloud for Scripted {
    async fn reach(&self, _: &Setup) -> Result<Self, Failure> {
        Ok(self.clone())
    }

    fn leave(&mut self) {}

    fn is_of(&self, _: &Setup) -> bool {
        false
    }

    fn has_metadata(&self) -> bool {
        true
    }

    async fn target_lifecycle_state(&self) -> Result<Option<String>, ImdsFault> {
        self.with(|world| {
            world.metadata_asked.push(Instant::now());
            let (endpoint, cause) = ("http://169.254.169.254".to_owned(), "no route".to_owned());
            if world.metadata_is_away {
                Err(ImdsFault::Unreachable { endpoint, cause })
            } else {
                Ok(Some("InService".to_owned()))
            }
        })
    }

    async fn metadata(&self, _: &str) -> Result<Option<String>, ImdsFault> {
        Ok(None)
    }

    async fn describe(&self, _: &str) -> Result<Option<Member>, Fault> {
        let state = if self.with(|world| world.is_in_service) { "InService" } else { "Pending:Wait" };
        Ok(Some(Member { group: "web".to_owned(), state: state.to_owned(), healthy: true }))
    }

    async fn hooks(&self, _: &str) -> Result<Vec<GroupHook>, Fault> {
        Ok(vec![GroupHook { name: "up".to_owned(), launching: true, heartbeat_seconds: 600, global_seconds: 6000 }])
    }

    async fn heartbeat(&self, _: &str, _: &str, _: &str) -> Result<Answer, Fault> {
        Ok(Answer::Taken)
    }

    async fn complete(&self, group: &str, hook: &str, instance: &str, result: &str) -> Result<Answer, Fault> {
        assert_eq!((group, hook, instance, result), ("web", "up", "i-1", "CONTINUE"));
        self.with(|world| {
            world.completions.push(Instant::now());
            if let Some(fault) = world.refusals.pop_front() {
                return Err(fault);
            }
            world.is_in_service = true;
            Ok(Answer::Taken)
        })
    }
}

/// Starts the controller; the sender is the configuration.
fn follow(cloud: &Scripted, configuration: &str) -> (Handle, tokio::sync::watch::Sender<Arc<Setup>>) {
    listen();
    let (setups, setup_watch) = SetupWatch::new(Arc::new(setup("/nowhere".as_ref(), configuration)));
    let (handle, health_watch) = (engine::doubles::start(State::default()), HealthWatch::default());
    let sources = Sources::new(setup_watch.clone(), handle.state(), health_watch.watch());
    let (cloud, asked) = (cloud.clone(), handle.clone());
    start(&sources, move || {
        let (setup_watch, health_watch) = (setup_watch.clone(), health_watch.clone());
        LifecycleController::of(cloud.clone(), setup_watch, asked.clone(), health_watch, "i-1".parse().unwrap(), None)
    });
    (handle, setups)
}

fn seconds_between(times: &[Instant]) -> Vec<u64> {
    times.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_completed_until_the_group_takes_it() {
    let cloud = Scripted::default();
    cloud.with(|world| {
        let fault = |n: u32| Fault { request_id: Some(n.to_string()), ..Fault::broken("the group is away") };
        world.refusals.extend((0..4).map(fault));
    });
    let (handle, _setups) = follow(&cloud, "auto_scaling: {launch_hooks: [up], poll: 1s}");
    let served = |state: &Arc<State>| state.lifecycle.action.is_none() && state.lifecycle.entries > 0;
    handle.state().wait_for(served).await.unwrap();
    let times = cloud.with(|world| world.completions.clone());
    let waits = seconds_between(&times);
    assert_eq!(waits.len(), 4, "{waits:?}");
    for (longest, wait) in [5, 10, 20, 30].into_iter().zip(&waits) {
        // The next look after the wait, a second apart.
        assert!((longest / 2..=longest + 2).contains(wait), "{waits:?}");
    }
    let logged = logged();
    let warned: Vec<_> = logged.iter().filter(|line| line.starts_with("WARN")).collect();
    assert_eq!(warned.len(), 1, "the request ids differ, and the problem is the same: {logged:?}");
    assert!(warned[0].contains("the hook up was not completed") && warned[0].contains("request id 0"), "{logged:?}");
    assert_eq!(logged.iter().filter(|line| line.contains("is completed with")).count(), 1, "{logged:?}");
}

#[tokio::test(start_paused = true)]
async fn a_metadata_service_that_is_away_is_asked_ever_more_rarely_and_said_once() {
    let cloud = Scripted::default();
    cloud.with(|world| (world.metadata_is_away, world.is_in_service) = (true, true));
    let (_handle, setups) = follow(&cloud, "auto_scaling: {poll: 1s}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let waits = seconds_between(&cloud.with(|world| world.metadata_asked.clone()));
    assert!(waits.len() < 80 && waits[..2].iter().all(|wait| *wait <= 12), "{waits:?}");
    assert!(waits.last().is_some_and(|wait| (60..=122).contains(wait)), "{waits:?}");
    let away: Vec<_> = logged().into_iter().filter(|line| line.starts_with("WARN")).collect();
    assert_eq!(away.len(), 1, "{away:?}");
    assert!(away[0].contains("does not say what the group wants"), "{away:?}");
    cloud.with(|world| world.metadata_is_away = false);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let back = logged();
    assert_eq!(back.iter().filter(|line| line.contains("says again what the group wants")).count(), 1, "{back:?}");
    // Switched off, it asks nothing.
    setups.send_replace(Arc::new(setup("/nowhere".as_ref(), "")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    cloud.with(|world| world.metadata_asked.clear());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cloud.with(|world| world.metadata_asked.clone()), []);
}
