//! The engine's interfaces to the outside, named from its side.

use std::future::Future;
use std::sync::Arc;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::{Deployment, Group};
use hostler_core::machine::{Effect, Progress, State, WorkResult};
use hostler_core::traffic::Withdrawal;
use hostler_core::transfer::Meter;
use tokio::sync::broadcast;

/// Stores the state. Its one writer is the engine.
pub trait StateStore {
    /// The most bytes of the state as JSON.
    fn room(&self) -> usize;

    /// Makes the state durable; once it returns, a crash cannot lose it. To make the state fit, it may drop parts that
    /// only people would read.
    ///
    /// # Errors
    /// When the state could not be written; the caller must not begin any work then.
    fn persist(&mut self, state: &mut State, settled: bool) -> anyhow::Result<()>;
}

/// One effect with the deployment and the group as they were when it began.
#[derive(Debug, Clone)]
pub struct Job {
    /// What to do.
    pub effect: Effect,
    /// The deployment.
    pub deployment: Deployment,
    /// Its group, as of the same moment.
    pub group: Group,
    /// The Installs of the host's other groups, as of the same moment.
    pub others: Vec<Installs>,
    /// The withdrawal from traffic, as of the same moment.
    pub withdrawal: Option<Withdrawal>,
    /// Counts the bytes that the effect transfers.
    pub meter: Arc<Meter>,
    /// Takes what users who watch see while the effect runs. It is in no state: a crash loses it.
    pub watchers: broadcast::Sender<Progress>,
}

/// The Installs that determine which files a group has on this host.
#[derive(Debug, Clone)]
pub struct Installs {
    /// The group.
    pub key: GroupKey,
    /// The newest first; the first whose Install stands counts.
    pub deployments: Vec<DeploymentId>,
}

impl Installs {
    /// The Installs of one group. After an undone Install, the files of the one before it are on the host. After a
    /// removal the group owns only what the removal left: the revision before it is no longer the group's, and another
    /// group may have installed the same paths since.
    pub fn last_of(group: &Group) -> Self {
        let installed = match &group.installed {
            Some(installed) => {
                vec![Some(&installed.deployment), group.installed_before.as_ref().map(|i| &i.deployment)]
            }
            None => vec![group.finished.iter().rev().find(|ended| ended.installed).map(|removal| &removal.id)],
        };
        Self { key: group.key.clone(), deployments: installed.into_iter().flatten().cloned().collect() }
    }

    /// The Installs of every other group, also those of deployments in progress. A group without any may still have
    /// files on the host: another agent's.
    pub fn of_others(state: &State, key: &GroupKey) -> Vec<Self> {
        let others = state.groups.values().filter(|group| group.key.id() != key.id());
        let installs = others.map(|group| {
            let mut installs = Self::last_of(group);
            let active = group.active.as_ref().map(|deployment| deployment.id.clone());
            installs.deployments.splice(0..0, active);
            installs
        });
        installs.collect()
    }
}

/// Performs effects. Starting the same effect again after a crash is safe.
pub trait Worker: Send + Sync + 'static {
    /// Performs the effect and returns its result; every failure is part of the result.
    fn perform(&self, job: Job) -> impl Future<Output = WorkResult> + Send;

    /// Puts the host back into service outside of a deployment.
    fn put_back(&self, withdrawal: Withdrawal) -> impl Future<Output = WorkResult> + Send;
}
