//! The controller beside places that fail for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use hostler_core::codes::ExitCode;
use hostler_core::machine::State;

use super::*;
use crate::controller::{Sources, start};
use crate::engine;
use crate::setup::SetupWatch;
use crate::test_support::{listen, logged, setup};

/// Answers in this order, and then always with the two hosts `i-1` and `i-2`.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Result<Membership, Failure>>>>,
    looks: Arc<Mutex<Vec<Instant>>>,
}

fn members(names: &[&str]) -> Membership {
    Membership::new(names.iter().map(|name| Member::new(name, None, None).unwrap()).collect())
}

impl Places for Scripted {
    async fn look(&mut self, _: &Setup, _: &InstanceId) -> Result<Membership, Failure> {
        self.looks.lock().unwrap().push(Instant::now());
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(members(&["i-1", "i-2"])))
    }
}

/// Waits between the looks, in seconds.
fn waits(looks: &[Instant]) -> Vec<u64> {
    looks.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn members_that_are_not_known_are_asked_for_again_and_told_once_they_are() {
    listen();
    let root = tempfile::tempdir().unwrap();
    let places = Scripted::default();
    let away = || Err(Failure::say(ExitCode::Failed, "the group is away"));
    places.answers.lock().unwrap().extend([away(), away(), away(), Ok(members(&["i-2"]))]);
    let mut state = State::default();
    state.machine_events.present.insert(MachineEvent::Configure);
    let handle = engine::doubles::start(state.clone());
    let setup = setup(root.path(), "");
    let document = setup.layout.members(&members(&["i-1", "i-2"]).to_bytes().unwrap().1);
    let (setups, setup_watch) = SetupWatch::new(Arc::new(setup));
    let health = tokio::sync::watch::Sender::default();
    let shown = tokio::sync::watch::Sender::new(Arc::new(State::default()));
    let sources = Sources::new(setup_watch, shown.subscribe(), health.subscribe());
    let (given, asked) = (places.clone(), handle.clone());
    start(&sources, move || Members::of(given.clone(), asked.clone(), "i-1".parse().unwrap()));
    let seconds = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    seconds(3600).await;
    assert_eq!(*places.looks.lock().unwrap(), [], "no script wants to know");
    shown.send_replace(Arc::new(state));
    let told = handle.state().wait_for(|state| state.machine_events.members.is_some()).await.is_ok();
    assert!(told && document.exists());
    let looks = places.looks.lock().unwrap().clone();
    assert_eq!(looks.len(), 5);
    for (longest, wait) in [5, 10, 20, 40].into_iter().zip(waits(&looks)) {
        assert!((longest / 2..=longest).contains(&wait), "{:?}", waits(&looks));
    }
    seconds(1).await;
    let logged = logged();
    let of_members: Vec<_> = logged.iter().filter(|line| line.contains("the group's members")).collect();
    assert_eq!(of_members.len(), 2, "{logged:?}");
    assert!(of_members[0].ends_with("are not known: the group is away"), "{logged:?}");
    assert!(of_members[1].starts_with("INFO: the group's members are known again"), "{logged:?}");
    // Later looks are a minute apart, and a reload does not wait for them.
    places.looks.lock().unwrap().clear();
    seconds(200).await;
    let steady = places.looks.lock().unwrap().len();
    assert!((2..=4).contains(&steady), "{steady}");
    setups.send_modify(|_| {});
    seconds(0).await;
    tokio::task::yield_now().await;
    assert_eq!(places.looks.lock().unwrap().len(), steady + 1);
}
