//! The loop beside doubles of its ports: it writes before it begins, and how it ends.

use std::sync::atomic::Ordering;

use hostler_core::event_order::LifecycleEvent;
use hostler_core::machine::state::Outcome;

use super::doubles::{Answer, HostDouble, MemoryStore, deploy, engine, key};
use super::*;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// The state once no deployment is active.
async fn idle(handle: &Handle) -> Arc<State> {
    handle.state().wait_for(|state| !state.is_busy()).await.unwrap().clone()
}

/// The last deployment of `web/NAME` and how it ended.
fn last_of(state: &State, name: &str) -> (String, Option<Outcome>) {
    let last = state.groups[&key(name).id()].finished.last().unwrap();
    (last.id.to_string(), last.outcome)
}

/// A host that answers so, a ledger, a running engine and its handle.
fn running(
    state: State,
    answer: impl Fn(&Work) -> Answer + Send + Sync + 'static,
) -> (Arc<HostDouble>, Arc<MemoryStore>, Handle, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let store = Arc::new(MemoryStore::default());
    let host = HostDouble::new(&store, answer);
    let (engine, handle) = engine(state, &store, &host);
    (host, store, handle, tokio::spawn(async { engine.run().await.map(drop) }))
}

#[test]
fn a_deployment_is_durable_before_each_of_its_effects_begins() {
    block_on(async {
        // The double asserts it at each of them.
        let (host, store, handle, running) = running(State::default(), |_| Answer::Good);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        assert!(store.written().iter().any(State::is_busy), "the answer comes once the decision is durable");
        let ended = idle(&handle).await;
        assert_eq!(last_of(&ended, "blue"), ("d-1".to_owned(), Some(Outcome::Succeeded)));
        assert_eq!(host.works(), ["prepare", "install", "finish"]);
        handle.drain().await;
        running.await.unwrap().unwrap();
        assert_eq!(store.last(), *ended);
    });
}

#[test]
fn a_state_that_cannot_be_written_ends_the_engine_and_begins_nothing() {
    block_on(async {
        let (host, store, handle, running) = running(State::default(), |_| Answer::Good);
        handle.turn().await.unwrap();
        store.fail();
        assert!(matches!(handle.ask(deploy("d-1", "blue")).await, Err(AskError::Stopping)));
        assert!(running.await.unwrap().unwrap_err().to_string().contains("no space left"));
        assert_eq!(host.works(), [""; 0]);
        assert!(!handle.state().borrow().is_busy(), "no watcher sees what is not durable");
    });
}

#[test]
fn a_refused_request_writes_nothing_and_the_engine_goes_on() {
    block_on(async {
        let (host, store, handle, _running) = running(State::default(), |_| Answer::Waits);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        let before = store.written().len();
        assert!(matches!(handle.ask(deploy("d-2", "blue")).await, Err(AskError::Refused(_))));
        assert_eq!(store.written().len(), before);
        host.open();
        assert_eq!(last_of(&*idle(&handle).await, "blue"), ("d-1".to_owned(), Some(Outcome::Succeeded)));
        handle.ask(deploy("d-3", "blue")).await.unwrap();
        assert_eq!(last_of(&*idle(&handle).await, "blue"), ("d-3".to_owned(), Some(Outcome::Succeeded)));
    });
}

#[test]
fn what_the_last_process_had_begun_is_begun_again_by_the_next_one() {
    block_on(async {
        let (_, store, handle, first) = running(State::default(), |_| Answer::Waits);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        first.abort();
        let (host, _, handle, _second) = {
            let host = HostDouble::new(&store, |_| Answer::Good);
            let (engine, handle) = engine(store.last(), &store, &host);
            (host, (), handle, tokio::spawn(engine.run()))
        };
        assert_eq!(last_of(&*idle(&handle).await, "blue"), ("d-1".to_owned(), Some(Outcome::Succeeded)));
        assert_eq!(host.works(), ["prepare", "install", "finish"]);
        let begun = host.begun.lock().unwrap();
        assert_eq!(
            begun[0].effect.number,
            store.written()[0].all_active().next().unwrap().1.in_flight.as_ref().unwrap().number
        );
    });
}

#[test]
fn groups_are_deployed_to_side_by_side_and_their_installs_one_after_another() {
    block_on(async {
        let (host, store, handle, _running) = running(State::default(), |work| match work {
            Work::Install => Answer::Waits,
            _ => Answer::Good,
        });
        for (id, name) in [("d-1", "blue"), ("d-2", "green"), ("d-3", "red")] {
            handle.ask(deploy(id, name)).await.unwrap();
        }
        let waits = |state: &Arc<State>| state.all_active().filter(|(_, d)| d.in_flight.is_some()).count() == 1;
        handle.state().wait_for(waits).await.unwrap();
        assert_eq!(host.works().iter().filter(|work| *work == "install").count(), 1);
        assert_eq!(host.works().iter().filter(|work| *work == "prepare").count(), 3);
        host.open();
        let ended = idle(&handle).await;
        for name in ["blue", "green", "red"] {
            assert_eq!(last_of(&ended, name).1, Some(Outcome::Succeeded), "{name}");
        }
        let installs = |state: &State| {
            state.all_active().filter(|(_, d)| d.in_flight.as_ref().is_some_and(|e| e.work == Work::Install)).count()
        };
        assert!(store.written().iter().all(|state| installs(state) <= 1));
    });
}

#[test]
fn a_draining_engine_takes_no_requests_and_ends_when_its_effect_has_ended() {
    block_on(async {
        let (host, store, handle, running) = running(State::default(), |_| Answer::Waits);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        handle.drain().await;
        assert!(matches!(handle.ask(deploy("d-2", "green")).await, Err(AskError::Stopping)));
        assert!(!running.is_finished());
        host.open();
        running.await.unwrap().unwrap();
        let (_, left) = store.last().all_active().next().map(|(k, d)| (k.clone(), d.clone())).unwrap();
        assert!(left.in_flight.is_none(), "the result is written, and nothing new is begun: {left:?}");
        assert_eq!(host.works(), ["prepare"]);
    });
}

#[test]
fn an_engine_that_leaves_when_idle_ends_its_deployments_first() {
    block_on(async {
        let (host, store, handle, running) = running(State::default(), |_| Answer::Waits);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        handle.leave_when_idle().await;
        handle.ask(deploy("d-2", "green")).await.unwrap();
        assert!(!running.is_finished());
        host.open();
        running.await.unwrap().unwrap();
        for name in ["blue", "green"] {
            assert_eq!(last_of(&store.last(), name).1, Some(Outcome::Succeeded), "{name}");
        }
    });
}

#[test]
fn watchers_see_durable_states_only_and_progress_in_order() {
    block_on(async {
        let (host, store, handle, _running) = running(State::default(), |_| Answer::Waits);
        let (mut progress, mut watcher) = (handle.progress(), handle.state());
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        host.open();
        while watcher.borrow_and_update().is_busy() {
            let seen = Arc::clone(&watcher.borrow());
            assert!(store.written().contains(&seen));
            watcher.changed().await.unwrap();
        }
        let mut seen = Vec::new();
        while let Ok(next) = progress.try_recv() {
            seen.push(match next {
                Progress::Started { .. } => "started".to_owned(),
                Progress::EventStarted { event, .. } => format!("{event} started"),
                Progress::EventFinished { event, .. } => format!("{event} ended"),
                Progress::Finished { .. } => "finished".to_owned(),
                other => format!("{other:?}"),
            });
        }
        let events = ["DownloadBundle", "Install"];
        let expected = events.iter().flat_map(|event| [format!("{event} started"), format!("{event} ended")]);
        let expected: Vec<String> =
            ["started".to_owned()].into_iter().chain(expected).chain(["finished".to_owned()]).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn an_effect_that_fails_ends_its_deployment_and_not_the_neighbours() {
    block_on(async {
        let (host, _, handle, _running) = running(State::default(), |_| Answer::Waits);
        handle.ask(deploy("d-1", "blue")).await.unwrap();
        host.open();
        idle(&handle).await;
        let (_, _, handle, _running) = {
            let (_, store) = ((), Arc::new(MemoryStore::default()));
            let host =
                HostDouble::new(&store, |work| if *work == Work::Prepare { Answer::Fails } else { Answer::Good });
            let (engine, handle) = engine((*idle(&handle).await).clone(), &store, &host);
            (host, store, handle, tokio::spawn(engine.run()))
        };
        handle.ask(deploy("d-2", "green")).await.unwrap();
        let ended = idle(&handle).await;
        assert_eq!(last_of(&ended, "green"), ("d-2".to_owned(), Some(Outcome::Failed)));
        assert_eq!(last_of(&ended, "blue"), ("d-1".to_owned(), Some(Outcome::Succeeded)));
        let failure = ended.groups[&key("green").id()].finished.last().unwrap().failure.clone().unwrap();
        assert!(failure.message.contains("as the test says") && failure.event == LifecycleEvent::DownloadBundle);
    });
}

#[test]
fn an_effect_that_panics_is_a_failed_effect_with_its_words_and_the_engine_goes_on() {
    block_on(async {
        let (host, _, handle, running) = running(State::default(), |_| Answer::Panics);
        for id in ["d-1", "d-2"] {
            handle.ask(deploy(id, "blue")).await.unwrap();
            let ended = idle(&handle).await;
            assert_eq!(last_of(&ended, "blue"), (id.to_owned(), Some(Outcome::Failed)));
            let failure = ended.groups[&key("blue").id()].finished.last().unwrap().failure.clone().unwrap();
            assert!(failure.message.contains("Prepare cannot be done"), "{failure:?}");
        }
        assert_eq!(host.most_running.load(Ordering::SeqCst), 1);
        handle.drain().await;
        running.await.unwrap().unwrap();
    });
}

#[test]
fn a_panic_of_the_engine_itself_ends_it_and_is_seen() {
    block_on(async {
        let (_, store, handle, running) = running(State::default(), |_| Answer::Good);
        handle.turn().await.unwrap();
        store.panic();
        assert!(matches!(handle.ask(deploy("d-1", "blue")).await, Err(AskError::Stopping)));
        assert!(running.await.unwrap_err().is_panic());
    });
}

#[test]
fn each_effect_that_panics_has_a_result_of_its_own_kind() {
    let panicked = Panicked::new(&"so");
    for work in [
        Work::Prepare,
        Work::CheckBundle,
        Work::RunHook { event: LifecycleEvent::AfterInstall, index: 0, attempt: 1 },
        Work::Install,
        Work::Traffic { phase: TrafficPhase::Look },
        Work::Traffic { phase: TrafficPhase::Block },
        Work::Reboot,
    ] {
        let result = format!("{:?}", failed("d-1".parse().unwrap(), &work, &panicked));
        assert!(result.contains("a fault in hostler: so"), "{work:?}: {result}");
        // Old and new files may be mixed: the journal is settled before the deployment has failed.
        assert_eq!(work == Work::Install, result.starts_with("NotUndone"), "{result}");
    }
}
