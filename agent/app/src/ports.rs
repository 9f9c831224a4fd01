//! What the engine needs from outside, named from its side.

use std::future::Future;

use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::{Deployment, Group};
use hostler_core::machine::{Effect, State, WorkResult};
use hostler_core::traffic::Withdrawal;

/// Keeps the state. One writer: the engine.
pub trait StateStore {
    /// Bytes that the state may have as JSON.
    fn room(&self) -> usize;

    /// Makes the state durable; when it returns, a crash cannot lose it. What people would read later may have made way in
    /// it, where it would not have fit.
    ///
    /// # Errors
    /// When the state could not be written; nothing may be begun then.
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
    /// What the host's other groups have, as of the same moment.
    pub others: Vec<Installs>,
    /// What the host is out of, as of the same moment.
    pub withdrawal: Option<Withdrawal>,
}

/// By which Installs it is known what a group has on this host.
#[derive(Debug, Clone)]
pub struct Installs {
    /// The group.
    pub key: GroupKey,
    /// The newest first; of those that stand, the first counts.
    pub deployments: Vec<DeploymentId>,
}

impl Installs {
    /// Of a group's last deployment. After an undone Install the one before it is on the host.
    pub fn last_of(group: &Group) -> Self {
        let installed = [&group.installed, &group.installed_before].into_iter().flatten();
        let deployments = installed.map(|installed| installed.deployment.clone()).collect();
        Self { key: group.key.clone(), deployments }
    }

    /// Of every group but one, also by the deployments that are going on.
    pub fn of_others(state: &State, key: &GroupKey) -> Vec<Self> {
        let others = state.groups.values().filter(|group| group.key.id() != key.id());
        let installs = others.map(|group| {
            let mut installs = Self::last_of(group);
            let active = group.active.as_ref().map(|deployment| deployment.id.clone());
            installs.deployments.splice(0..0, active);
            installs
        });
        installs
            .filter(|installs| !installs.deployments.is_empty() || installs.key.codedeploy_group_id.is_some())
            .collect()
    }
}

/// Does what effects say. Starting the same effect again after a crash is safe.
pub trait Worker: Send + Sync + 'static {
    /// Does it and says what came of it; every failure is part of the result.
    fn perform(&self, job: Job) -> impl Future<Output = WorkResult> + Send;

    /// Puts the host back into service outside of a deployment.
    fn put_back(&self, withdrawal: Withdrawal) -> impl Future<Output = WorkResult> + Send;
}
