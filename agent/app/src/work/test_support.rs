//! Doubles of the ports, and a host on which the real engine has its effects performed by the real worker.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler_core::hook::{BundleOrigin, HookRun};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::event::WorkFailure;
use hostler_core::machine::retention::Kept;
use hostler_core::machine::state::{Deployment, Policy, Purpose, Request, Revision, Script, Source};
use hostler_core::machine::{Event, State};
use hostler_core::plan::actions::{InstalledEntry, Plan};
use hostler_host::archive::Unpacked;
use hostler_host::clock;
use hostler_host::layout::DeploymentPaths;
use tokio::sync::Notify;

use crate::cli::Shared;
use crate::engine::doubles::revision;
use crate::engine::{Engine, Handle, Identity};
use crate::failure::fail;
use crate::health::HealthWatch;
use crate::ports::{Job, StateStore};
use crate::setup::{Setup, SetupWatch};
use crate::work::HostWorker;
use crate::work::fetch::FetchedBundle;
use crate::work::ports::{BundleSource, Compatibility, LastEntries, Pending, Ports, ScriptDefaults};
use crate::work::unpack::unpack;

/// The longest time that a deployment may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ports of every deployment.
#[derive(Debug, Default)]
pub struct Doubles {
    pub bundles: DoubleBundles,
    pub agent: DoubleAgent,
}

impl Ports for Doubles {
    fn bundles(&self, _: &Source) -> &dyn BundleSource {
        &self.bundles
    }

    fn compatibility(&self, _: &GroupKey) -> &dyn Compatibility {
        &self.agent
    }
}

/// One directory as the bundle of every deployment.
#[derive(Debug, Default)]
pub struct DoubleBundles {
    pub tree: PathBuf,
    /// The failure of every fetch.
    pub fails: Option<WorkFailure>,
    /// The group whose fetches wait for the gate.
    pub slow: Option<GroupKey>,
    pub gate: Notify,
    /// The jobs whose bundles were asked for.
    pub jobs: Mutex<Vec<Job>>,
}

impl BundleSource for DoubleBundles {
    fn fetch<'a>(
        &'a self,
        _: &'a Setup,
        job: &'a Job,
        _: &'a DeploymentPaths,
    ) -> Pending<'a, Result<FetchedBundle, WorkFailure>> {
        Box::pin(async move {
            self.jobs.lock().unwrap().push(job.clone());
            if self.slow.as_ref() == Some(&job.group.key) {
                self.gate.notified().await;
            }
            match &self.fails {
                Some(failure) => Err(failure.clone()),
                None => Ok(job.deployment.request.revision.clone().into()),
            }
        })
    }

    fn unpack(
        &self,
        setup: &Setup,
        _: &Job,
        fetched: FetchedBundle,
        into: &Path,
    ) -> Result<(Revision, Unpacked), WorkFailure> {
        unpack(setup, &self.tree, fetched.revision, into)
    }

    fn is_remote(&self, _: &Source) -> bool {
        false
    }

    fn origin(&self, _: &Source) -> BundleOrigin {
        BundleOrigin::GitHub { commit: "0123abc".to_owned() }
    }
}

/// Another agent that remembers what it was told, and refuses one phase.
#[derive(Debug, Default)]
pub struct DoubleAgent {
    pub told: Mutex<Vec<String>>,
    pub refuses: Option<&'static str>,
    /// The entries of an Install of its own.
    pub last: Option<Vec<InstalledEntry>>,
    /// The user of its scripts.
    pub user: Option<String>,
}

impl DoubleAgent {
    fn tell(&self, phase: &'static str, about: &dyn std::fmt::Display) -> Result<(), String> {
        self.told.lock().unwrap().push(format!("{phase} {about}"));
        match self.refuses {
            Some(refused) if refused == phase => Err(format!("the double refuses {phase}")),
            _ => Ok(()),
        }
    }

    /// What it was told, in the order in which it was told.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Compatibility for DoubleAgent {
    fn make_room(&self, _: &Setup, job: &Job) -> Vec<String> {
        self.tell("make room", &job.deployment.id).err().into_iter().collect()
    }

    fn unpacked(&self, _: &Setup, job: &Job) -> Result<(), WorkFailure> {
        self.tell("unpacked", &job.deployment.id).map_err(fail)
    }

    fn installs(&self, _: &Setup, job: &Job, _: &Plan, archive: &Path) -> Result<(), WorkFailure> {
        assert!(archive.join("appspec.yml").is_file(), "{}", archive.display());
        self.tell("installs", &job.deployment.id).map_err(fail)
    }

    fn installed(&self, _: &Setup, job: &Job, entries: &[InstalledEntry]) -> Result<(), WorkFailure> {
        let paths = entries.iter().map(|entry| entry.path.display().to_string());
        let paths = paths.collect::<Vec<_>>().join(" ");
        self.tell("installed", &format!("{}: {paths}", job.deployment.id)).map_err(fail)
    }

    fn finished(&self, _: &Setup, job: &Job, kept: &Kept, _: Vec<DeploymentId>) -> Vec<String> {
        assert!(kept.always.contains(&job.deployment.id) || job.deployment.failure.is_some(), "{kept:?}");
        self.tell("finished", &job.deployment.id).err().into_iter().collect()
    }

    fn last_install(
        &self,
        _: &Setup,
        _: &GroupKey,
        ours: Option<Vec<InstalledEntry>>,
    ) -> Result<Option<LastEntries>, String> {
        let theirs = self.last.clone().map(|entries| LastEntries { entries, ours: false });
        Ok(theirs.or(ours.map(|entries| LastEntries { entries, ours: true })))
    }

    fn check_bundle(&self, _: &Setup, _: &GroupKey, deployment: &DeploymentId) -> Result<(), String> {
        self.tell("check bundle", deployment)
    }

    fn check_script(&self, _: &Setup, _: &GroupKey, script: &Script, _: &Path) -> Result<(), String> {
        self.tell("check script", &script.location)
    }

    fn script_defaults(&self, _: &Setup, _: &Job) -> ScriptDefaults {
        ScriptDefaults { user: self.user.clone(), ..ScriptDefaults::default() }
    }

    fn surround<'a>(&'a self, _: &'a Setup, _: &'a Job, run: &'a mut HookRun) -> Pending<'a, ()> {
        Box::pin(async move {
            run.environment.push(("OTHER_AGENT".to_owned(), "here".to_owned()));
            run.tail_lines = 7;
        })
    }
}

/// Stores nothing.
struct Memory;

impl StateStore for Memory {
    fn room(&self) -> usize {
        1 << 20
    }

    fn persist(&mut self, _: &mut State, _: bool) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A directory as the root of a host.
pub struct Host {
    pub ports: &'static Doubles,
    pub setup: Arc<Setup>,
    handle: Handle,
    directory: tempfile::TempDir,
}

impl Host {
    /// Starts an engine. `appspec` is the appspec of the one bundle, which has two files more: `page` and `script.sh`.
    pub fn new(appspec: &str, mut ports: Doubles) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, tree) = (directory.path().join("root"), directory.path().join("bundle"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&tree).unwrap();
        for (name, text) in [("appspec.yml", appspec), ("page", "new"), ("script.sh", "#!/bin/sh\n")] {
            fs::write(tree.join(name), text).unwrap();
        }
        ports.bundles.tree = tree;
        let ports: &'static Doubles = Box::leak(Box::new(ports));
        let setup = Arc::new(Setup::of_flags(&shared(root)).unwrap());
        fs::create_dir_all(setup.layout.state()).unwrap();
        let worker = worker(&setup, ports);
        let identity =
            Identity { host: "i-1".parse().unwrap(), boot_id: clock::boot_id(), agent_version: "0".to_owned() };
        let (engine, handle) = Engine::new(State::default(), Memory, Arc::new(worker), identity);
        tokio::spawn(engine.run());
        Self { ports, setup, handle, directory }
    }

    /// A worker beside the engine's own.
    pub fn worker(&self) -> HostWorker {
        worker(&self.setup, self.ports)
    }

    /// A path below the host's root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    /// Asks for a deployment.
    pub async fn begin(&self, group: &str, id: &str) {
        let request = Request {
            key: key(group),
            purpose: Purpose::ByHand,
            asked_by: "test".to_owned(),
            source: Source::Path { path: "/the/double/does/not/read/it".into() },
            revision: revision(),
            trust: Default::default(),
            policy: Policy { cleanup: true, ..Policy::default() },
        };
        self.handle.ask(Event::Deploy { id: id.parse().unwrap(), request: Box::new(request) }).await.unwrap();
    }

    /// Waits for the end of a deployment.
    pub async fn end(&self, id: &str) -> Deployment {
        let find = |state: &State| {
            let mut finished = state.groups.values().flat_map(|group| &group.finished);
            finished.find(|deployment| deployment.id.as_str() == id).cloned()
        };
        let mut state = self.handle.state();
        let ended = tokio::time::timeout(PATIENCE, state.wait_for(|state| find(state).is_some())).await;
        find(&ended.unwrap().unwrap()).unwrap()
    }

    /// Deploys to the group `blue`, to the end.
    pub async fn deploy(&self, id: &str) -> Deployment {
        self.begin("blue", id).await;
        self.end(id).await
    }

    /// The job of the first deployment, as it was when its bundle was asked for.
    pub fn first_job(&self) -> Job {
        self.ports.bundles.jobs.lock().unwrap()[0].clone()
    }
}

fn worker(setup: &Arc<Setup>, ports: &'static Doubles) -> HostWorker {
    let watch = SetupWatch::fixed(Arc::clone(setup));
    HostWorker::new(watch, "i-1".parse().unwrap(), HealthWatch::default(), ports).unwrap()
}

fn shared(root: PathBuf) -> Shared {
    Shared { config: None, root, state_dir: None, application: None, group: None, channel: None, json: false }
}

pub fn key(group: &str) -> GroupKey {
    GroupKey::new("web".parse().unwrap(), group.parse().unwrap())
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
