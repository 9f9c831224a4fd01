//! The loop beside a worker that panics.

use std::sync::Mutex;

use hostler_core::machine::state::{Outcome, Policy, Purpose, Request, Revision, Source};
use hostler_core::traffic::Withdrawal;

use super::*;

/// Every effect panics.
struct Panicking;

impl Worker for Panicking {
    async fn perform(&self, job: Job) -> WorkResult {
        tokio::task::yield_now().await;
        std::panic::panic_any(format!("{:?} cannot be done", job.effect.work));
    }

    async fn put_back(&self, _: Withdrawal) -> WorkResult {
        std::panic::panic_any("never")
    }
}

/// Stores nothing; panics on request.
struct Memory {
    panics: Arc<Mutex<bool>>,
}

impl StateStore for Memory {
    fn room(&self) -> usize {
        1 << 20
    }

    fn persist(&mut self, _: &mut State, _: bool) -> anyhow::Result<()> {
        assert!(!*self.panics.lock().unwrap(), "the keeper");
        Ok(())
    }
}

/// A deployment that fails in its first effect.
pub fn deploy(id: &str) -> Event {
    let request = Request {
        key: GroupKey::new("web".parse().unwrap(), "blue".parse().unwrap()),
        purpose: Purpose::ByHand,
        asked_by: "test".to_owned(),
        source: Source::Path { path: "/bundle".into() },
        revision: Revision { location: "test".to_owned(), digest: None, size: None, bundle_type: None },
        trust: Default::default(),
        policy: Policy::default(),
    };
    Event::Deploy { id: id.parse().unwrap(), request: Box::new(request) }
}

/// For tests of what asks an engine: one on the runtime's own thread that begins with this state.
pub fn start(state: State) -> Handle {
    let (mut engine, handle) = engine(Arc::default());
    engine.state = state.clone();
    engine.watchers.send_replace(Arc::new(state));
    tokio::spawn(engine.run());
    handle
}

fn engine(panics: Arc<Mutex<bool>>) -> (Engine<Memory, Panicking>, Handle) {
    let identity = Identity { host: "i-1".parse().unwrap(), boot_id: "boot".to_owned(), agent_version: "0".to_owned() };
    Engine::new(State::default(), Memory { panics }, Arc::new(Panicking), identity)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

#[test]
fn an_effect_that_panics_is_a_failed_effect_with_its_words_and_the_engine_goes_on() {
    block_on(async {
        let (engine, handle) = engine(Arc::default());
        let running = tokio::spawn(engine.run());
        for id in ["d-1", "d-2"] {
            handle.ask(deploy(id)).await.unwrap();
            let mut state = handle.state();
            let ended = state.wait_for(|state| !state.is_busy()).await.unwrap().clone();
            let last = ended.groups.values().flat_map(|group| &group.finished).next_back().unwrap();
            assert_eq!((last.id.as_str(), last.outcome), (id, Some(Outcome::Failed)));
            let failure = last.failure.as_ref().unwrap();
            assert!(failure.message.contains("Prepare cannot be done"), "{failure:?}");
        }
        handle.drain().await;
        running.await.unwrap().unwrap();
    });
}

#[test]
fn a_panic_of_the_engine_itself_ends_it_and_is_seen() {
    block_on(async {
        let panics = Arc::new(Mutex::new(false));
        let (engine, handle) = engine(Arc::clone(&panics));
        let running = tokio::spawn(engine.run());
        handle.turn().await.unwrap();
        *panics.lock().unwrap() = true;
        assert!(matches!(handle.ask(deploy("d-1")).await, Err(AskError::Stopping)));
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
