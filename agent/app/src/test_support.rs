//! For the tests of controllers: a host that a test changes, and the records that the test's thread logged.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Once};

use hostler_core::config;
use hostler_core::config::settings::Settings;
use hostler_core::limits::Limits;
use hostler_core::machine::State;
use hostler_core::status::Health;
use hostler_host::layout::Layout;
use log::{Level, Log, Metadata, Record};
use tokio::sync::watch;

use crate::controller::{Sources, View};
use crate::setup::{Setup, SetupWatch};
use crate::stores::Stores;

/// What controllers look at, in the hands of a test. Dropping it is the end of the engine.
pub struct Host {
    pub setups: watch::Sender<Arc<Setup>>,
    pub state: watch::Sender<Arc<State>>,
    pub health: watch::Sender<Health>,
    pub sources: Sources,
}

impl Host {
    pub fn new(setup: Setup) -> Self {
        Self::with_state(setup, State::default())
    }

    pub fn with_state(setup: Setup, state: State) -> Self {
        let (setups, setup_watch) = SetupWatch::new(Arc::new(setup));
        let state = watch::Sender::new(Arc::new(state));
        let health = watch::Sender::new(Health::new());
        let sources = Sources::new(setup_watch, state.subscribe(), health.subscribe());
        Self { setups, state, health, sources }
    }

    pub fn view(&mut self) -> View {
        self.sources.view()
    }

    /// A change of the state that means nothing.
    pub fn touch_state(&self) {
        self.state.send_modify(|_| {});
    }

    /// The configuration is read again.
    pub fn reload(&self, configuration: &str) {
        let mut setup = Setup::clone(&self.setups.borrow());
        setup.settings = settings(configuration);
        self.setups.send_replace(Arc::new(setup));
    }
}

/// The setup of a host whose files are below `root`, with this configuration.
pub fn setup(root: &Path, configuration: &str) -> Setup {
    let (settings, limits) = (settings(configuration), Limits::default());
    let stores = Arc::new(Stores::new(&settings, &limits, None));
    let layout = Layout::new(root, None);
    Setup { layout, settings, limits, json: false, stores, codedeploy_compat: None, unread: None }
}

fn settings(configuration: &str) -> Settings {
    config::read(&[("config.yaml".to_owned(), configuration.to_owned())], &Limits::default()).unwrap()
}

thread_local! {
    static LOGGED: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the records of each thread apart: tests run in parallel.
struct OfThread;

impl Log for OfThread {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hostler")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.with_borrow_mut(|logged| logged.push((record.level(), record.args().to_string())));
        }
    }

    fn flush(&self) {}
}

/// From now on, what this thread logs is kept. A test's tasks run on its own thread.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&OfThread).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    LOGGED.with_borrow_mut(Vec::clear);
}

/// The records since the last call, as `WARN: text`.
pub fn logged() -> Vec<String> {
    LOGGED.take().into_iter().map(|(level, text)| format!("{level}: {text}")).collect()
}
