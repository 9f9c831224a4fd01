//! All paths of the agent: the CodeDeploy agent's on-disk layout (docs/protocols/codedeploy.md#files-on-disk) below the
//! state directory.

use std::path::{Path, PathBuf};

use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::{DeploymentId, GroupKey, Sha256Digest};
use hostler_core::machine_events::MachineEvent;

use crate::group_directory;

/// The paths of one agent: its root prefix and its state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    install_lock: PathBuf,
    codedeploy_root: PathBuf,
}

impl Layout {
    /// The default state directory and socket lie below the root. Another state directory has its own socket, so that
    /// the control socket always leads to the agent that holds that state.
    pub fn new(root: &Path, state_dir: Option<&Path>) -> Self {
        let (state, socket) = match state_dir {
            Some(dir) => (dir.to_owned(), dir.join("hostler.sock")),
            None => (root.join("var/lib/hostler"), root.join("run/hostler/hostler.sock")),
        };
        let codedeploy_root = root.join("opt/codedeploy-agent/deployment-root");
        let install_lock = state.join("install.lock");
        Self { root: root.to_owned(), state, socket, install_lock, codedeploy_root }
    }

    /// The state directory of local deployments (`codedeploy-local`), which go on beside the daemon.
    pub fn local_state(root: &Path) -> PathBuf {
        root.join("var/lib/hostler/local")
    }

    /// The other state directory whose deployments lie in the CodeDeploy agent's place: for the daemon the one of local
    /// deployments, and for local deployments the daemon's.
    pub fn state_beside(&self) -> PathBuf {
        let local = Self::local_state(&self.root);
        if self.state == local { Self::new(&self.root, None).state } else { local }
    }

    /// The same with the lock of another state directory's Installs.
    pub fn with_install_lock_of(self, other: &Self) -> Self {
        Self { install_lock: other.install_lock.clone(), ..self }
    }

    /// The same with the CodeDeploy agent's `root_dir`, which lies below the root prefix.
    pub fn with_codedeploy_root(self, root_dir: &Path) -> Self {
        Self { codedeploy_root: self.beneath_root(root_dir), ..self }
    }

    /// An absolute path of the host below the root prefix.
    pub fn beneath_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The prefix of every destination.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same where it is not the root directory of the host.
    pub fn root_prefix(&self) -> Option<&Path> {
        Some(self.root()).filter(|root| *root != Path::new("/"))
    }

    /// The directory of the ledger, the lock and the history.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The lock that an Install waits for: one at a time, by any process.
    pub fn install_lock(&self) -> &Path {
        &self.install_lock
    }

    /// The local socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The root of all files of deployments, except those of the CodeDeploy service.
    pub fn deployment_root(&self) -> PathBuf {
        self.state.join("deployment-root")
    }

    /// Groups of the CodeDeploy service are where the CodeDeploy agent has them, so that each can go on after the
    /// other.
    fn root_of(&self, key: &GroupKey) -> PathBuf {
        match key.codedeploy_group_id {
            Some(_) => self.codedeploy_root.clone(),
            None => self.deployment_root(),
        }
    }

    /// All deployments of a group that are kept. The CodeDeploy service's groups have their id for a name, others a
    /// name that says nothing of theirs ([`group_directory`]).
    pub fn group(&self, key: &GroupKey) -> PathBuf {
        match &key.codedeploy_group_id {
            Some(id) => self.codedeploy_root.join(id.to_string()),
            None => group_directory::find(&self.deployment_root(), key),
        }
    }

    /// The path at which people look for a group's directory: a link to it, except for groups of the CodeDeploy
    /// service.
    pub fn named_group(&self, key: &GroupKey) -> PathBuf {
        self.root_of(key).join(key.id())
    }

    /// The packed bundles of a group: the kept one and the one being fetched. They lie beside the group's directory
    /// where the CodeDeploy agent counts the entries in it.
    pub fn bundles(&self, key: &GroupKey) -> PathBuf {
        match key.codedeploy_group_id {
            Some(_) => self.codedeploy_root.join("hostler-bundles").join(key.id()),
            None => self.group(key).join("bundles"),
        }
    }

    /// The directory in which a bundle of a group is fetched and checked before its deployment is requested.
    pub fn staging(&self, key: &GroupKey) -> PathBuf {
        self.bundles(key).with_extension("staging")
    }

    /// The log of all deployments.
    pub fn deployments_log(&self, key: &GroupKey) -> PathBuf {
        self.root_of(key).join("deployment-logs/codedeploy-agent-deployments.log")
    }

    /// A file in which agents tell each other the state of the host: `ending` is `-cleanup`, `-install.json`,
    /// `_last_successful_install` or `_most_recent_install`.
    pub fn instructions(&self, key: &GroupKey, ending: &str) -> PathBuf {
        self.root_of(key).join("deployment-instructions").join(format!("{}{ending}", key.id()))
    }

    /// An entry below the CodeDeploy agent's `root_dir`: the directory with a file for each command that it carries
    /// out, or another directory that belongs to no group.
    pub fn codedeploy(&self, name: &str) -> PathBuf {
        self.codedeploy_root.join(name)
    }

    /// The scripts of a machine event.
    pub fn machine_scripts(&self, event: MachineEvent) -> PathBuf {
        self.root.join("etc/hostler/hooks.d").join(event.name())
    }

    /// The files of machine events on this instance.
    pub fn machine_events(&self) -> PathBuf {
        self.state.join("machine-events")
    }

    /// The files of one run of a machine event: its log, and the run directories of its scripts.
    pub fn machine_run(&self, event: MachineEvent, number: u64) -> PathBuf {
        self.machine_events().join(format!("{number}-{event}"))
    }

    /// The document with the members of this host's group.
    pub fn members(&self, digest: &Sha256Digest) -> PathBuf {
        self.machine_events().join(format!("members-{}.json", digest.hex()))
    }

    /// The agent's own records, for shipping.
    pub fn agent_log(&self) -> PathBuf {
        self.state.join("agent.log")
    }

    /// Metrics, for shipping.
    pub fn metrics_log(&self) -> PathBuf {
        self.state.join("metrics.log")
    }

    /// One deployment.
    pub fn deployment(&self, key: &GroupKey, id: &DeploymentId) -> DeploymentPaths {
        DeploymentPaths(self.group(key).join(id.as_str()))
    }
}

/// The paths of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentPaths(PathBuf);

impl DeploymentPaths {
    /// The deployment's directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The bundle as fetched; the name does not show its type.
    pub fn bundle(&self) -> PathBuf {
        self.0.join("bundle.tar")
    }

    /// The unpacked bundle.
    pub fn archive(&self) -> PathBuf {
        self.0.join("deployment-archive")
    }

    /// The unpacked bundle before DownloadBundle is requested: hooks do not find it yet.
    pub fn checked(&self) -> PathBuf {
        self.0.join("checked-archive")
    }

    /// The fingerprint of the unpacked bundle as it was unpacked.
    pub fn fingerprint(&self) -> PathBuf {
        self.0.join("deployment-archive.fingerprint")
    }

    /// The output of its hooks.
    pub fn scripts_log(&self) -> PathBuf {
        self.logs().join("scripts.log")
    }

    /// The full reason of its failure, if that is too long for the state.
    pub fn failure(&self) -> PathBuf {
        self.0.join("failure.txt")
    }

    /// Its full warnings, if they are too long for the state.
    pub fn warnings(&self) -> PathBuf {
        self.0.join("warnings.txt")
    }

    /// Everything that is logged of it.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The journal of its Install.
    pub fn journal(&self) -> PathBuf {
        self.0.join("install-journal")
    }

    /// The run directories of its hooks.
    pub fn hook_runs(&self) -> PathBuf {
        self.0.join("hook-runs")
    }

    /// The run directory of one attempt of one script.
    pub fn run(&self, event: LifecycleEvent, index: usize, attempt: u32) -> PathBuf {
        self.hook_runs().join(format!("{event}-{}-{attempt}", index + 1))
    }
}
