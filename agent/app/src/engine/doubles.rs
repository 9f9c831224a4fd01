//! Doubles of the engine's ports. They keep what they were asked, and answer as the test says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hostler_core::ids::{GroupKey, Sha256Digest};
use hostler_core::machine::event::{InstallReport, Prepared, TrafficFound};
use hostler_core::machine::state::{Policy, Purpose, Request, Revision, Source};
use tokio::sync::Semaphore;

use super::*;

/// How the [`HostDouble`] answers one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It succeeds.
    Good,
    /// It fails with the message "as the test says".
    Fails,
    /// It panics.
    Panics,
    /// It waits until [`HostDouble::open`].
    Waits,
}

/// A host on which nothing is done.
pub struct HostDouble {
    answer: Box<dyn Fn(&Work) -> Answer + Send + Sync>,
    /// Each job that was begun, in order.
    pub begun: Mutex<Vec<Job>>,
    gate: Semaphore,
    running: AtomicUsize,
    /// The most jobs that ran at once.
    pub most_running: AtomicUsize,
    /// The store that must hold a job before it begins.
    store: Arc<MemoryStore>,
}

impl HostDouble {
    /// A host that answers each work so.
    pub fn new(store: &Arc<MemoryStore>, answer: impl Fn(&Work) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            begun: Mutex::default(),
            gate: Semaphore::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            store: Arc::clone(store),
        })
    }

    /// Lets all waiting work go on, also later work.
    pub fn open(&self) {
        self.gate.close();
    }

    /// The kinds of the begun jobs, in order.
    pub fn works(&self) -> Vec<String> {
        self.begun.lock().unwrap().iter().map(|job| word(&job.effect.work)).collect()
    }
}

/// A work's name without its parameters.
pub fn word(work: &Work) -> String {
    serde_json::to_value(work).unwrap()["work"].as_str().unwrap().to_owned()
}

impl Worker for HostDouble {
    async fn perform(&self, job: Job) -> WorkResult {
        let durable = self.store.last();
        assert!(
            durable.all_active().any(|(_, deployment)| deployment.in_flight.as_ref() == Some(&job.effect)),
            "{:?} began before the state with it was durable",
            job.effect
        );
        let work = job.effect.work.clone();
        let deployment = job.deployment.id.clone();
        self.begun.lock().unwrap().push(job);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let answer = (self.answer)(&work);
        if answer == Answer::Waits {
            // Closing the semaphore opens the gate.
            let _ = self.gate.acquire().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Answer::Panics => std::panic::panic_any(format!("{work:?} cannot be done")),
            Answer::Fails => failed(deployment, &work, &Panicked::new(&"as the test says")),
            Answer::Good | Answer::Waits => good(&work),
        }
    }

    async fn put_back(&self, _: Withdrawal) -> WorkResult {
        WorkResult::TrafficMoved(Ok(Vec::new()))
    }
}

fn good(work: &Work) -> WorkResult {
    match work {
        Work::Prepare => WorkResult::Prepared(Ok(Prepared {
            revision: revision(),
            hooks: Vec::new(),
            old_hooks: Vec::new(),
            health: Default::default(),
            takes_out: false,
            warnings: Vec::new(),
        })),
        Work::CheckBundle => WorkResult::Checked { fault: None, warnings: Vec::new() },
        Work::RunHook { .. } => panic!("the revision has no hooks"),
        Work::Install => WorkResult::Installed(Ok(InstallReport {
            entries: 1,
            entries_digest: Sha256Digest::of(b"one"),
            warnings: Vec::new(),
        })),
        Work::Probe { .. } => WorkResult::Probed(Ok(())),
        Work::Traffic { phase: TrafficPhase::Look } => WorkResult::TrafficFound(Ok(TrafficFound {
            place: None,
            suppresses_status_checks: false,
            warnings: Vec::new(),
        })),
        Work::Traffic { .. } => WorkResult::TrafficMoved(Ok(Vec::new())),
        Work::Reboot => WorkResult::Rebooted(Ok(())),
        Work::Finish { .. } => WorkResult::Finished { warnings: Vec::new() },
    }
}

/// A ledger in memory.
#[derive(Default)]
pub struct MemoryStore {
    written: Mutex<Vec<State>>,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl MemoryStore {
    /// A ledger that holds this state.
    pub fn holding(state: &State) -> Arc<Self> {
        let store = Self::default();
        store.written.lock().unwrap().push(state.clone());
        Arc::new(store)
    }

    /// All states that were made durable, in order.
    pub fn written(&self) -> Vec<State> {
        self.written.lock().unwrap().clone()
    }

    /// The durable state.
    pub fn last(&self) -> State {
        self.written.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// From now on nothing can be written.
    pub fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// From now on a write panics.
    pub fn panic(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

/// The engine's side of a [`MemoryStore`].
pub struct MemoryWriter(pub Arc<MemoryStore>);

impl StateStore for MemoryWriter {
    fn room(&self) -> usize {
        1 << 20
    }

    fn persist(&mut self, state: &mut State, _: bool) -> anyhow::Result<()> {
        assert!(!self.0.panics.load(Ordering::SeqCst), "the store");
        anyhow::ensure!(!self.0.fails.load(Ordering::SeqCst), "no space left on the device");
        self.0.written.lock().unwrap().push(state.clone());
        Ok(())
    }
}

/// A revision of which nothing is known but its place.
pub fn revision() -> Revision {
    Revision { location: "test".to_owned(), digest: None, size: None, bundle_type: None, label: None }
}

/// The group `web/NAME`.
pub fn key(name: &str) -> GroupKey {
    GroupKey::new("web".parse().unwrap(), name.parse().unwrap())
}

/// A deployment by hand to the group `web/NAME`.
pub fn deploy(id: &str, name: &str) -> Event {
    let request = Request {
        key: key(name),
        purpose: Purpose::ByHand,
        asked_by: "test".to_owned(),
        source: Source::Path { path: "/bundle".into() },
        revision: revision(),
        trust: Default::default(),
        policy: Policy::default(),
    };
    Event::Deploy { id: id.parse().unwrap(), request: Box::new(request) }
}

/// An engine that begins with this state.
pub fn engine(
    state: State,
    store: &Arc<MemoryStore>,
    host: &Arc<HostDouble>,
) -> (Engine<MemoryWriter, HostDouble>, Handle) {
    let identity = Identity { host: "i-1".parse().unwrap(), boot_id: "boot".to_owned(), agent_version: "0".to_owned() };
    Engine::new(state, MemoryWriter(Arc::clone(store)), Arc::clone(host), identity)
}

/// For tests of what asks an engine: one on the runtime's own thread that begins with this state. Every effect fails.
pub fn start(state: State) -> Handle {
    let store = MemoryStore::holding(&state);
    let (engine, handle) = engine(state, &store, &HostDouble::new(&store, |_| Answer::Fails));
    tokio::spawn(engine.run());
    handle
}
