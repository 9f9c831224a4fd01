//! The CodeDeploy service as a source of deployments: the agent polls for commands, acknowledges them, lets the engine
//! carry them out, and reports the results.
//!
//! ```text
//! beside   waits while the CodeDeploy agent runs
//! poll     asks for commands, one poll open at a time
//! take     a command: its specification, verified; its scripts; into the ledger; acknowledged
//! report   what ended: sent until the service has taken or refused it
//! tracking commands in progress, in the CodeDeploy agent's files
//! ```

mod beside;
mod connect;
mod following;
pub mod order;
mod poll;
mod report;
mod take;
mod tracking;

pub use beside::{other_agent, refuse_beside_the_agent};
pub use following::Following;
pub use take::TRACKING_AGE;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_aws::codedeploy::CommandService;
use hostler_core::retry::Backoff;
use hostler_host::codedeploy_agent;
use tokio::sync::Notify;

use crate::codedeploy::compat::CodeDeployCompat;
use crate::engine::Handle;
use crate::log_output::also_as_the_agent;
use crate::setup::Setup;
use beside::wait_for_the_agents_end;

/// Between two tries of a call about a command: the service waits for it.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 2000, most_ms: 60_000 };

/// The shared data of the parts of this source.
struct Follower {
    setup: Arc<Setup>,
    compat: Arc<CodeDeployCompat>,
    handle: Handle,
    service: CommandService,
    following: Following,
    /// Identifiers of the commands that a task is taking in or reporting.
    in_hand: Mutex<HashSet<String>>,
    /// The specification of the deployment whose command came last.
    verified: take::Verified,
    /// A command ended: the service may have the next one.
    ended: Notify,
}

impl Follower {
    /// Marks the command as in hand until the value is dropped; `None` while another task has it.
    fn take_in_hand(self: &Arc<Self>, what: &str) -> Option<InHand> {
        let is_free = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
        is_free.then(|| InHand { follower: Arc::clone(self), what: what.to_owned() })
    }
}

/// The command that one task has in hand, released however the task ends.
struct InHand {
    follower: Arc<Follower>,
    what: String,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.follower.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
    }
}

/// Follows the service for as long as it is polled.
pub async fn follow(setup: Arc<Setup>, compat: Arc<CodeDeployCompat>, handle: Handle, following: Following) {
    wait_for_the_agents_end(&setup, &compat, &following).await;
    also_as_the_agent(&setup.layout.beneath_root(&compat.agent.log_dir), &compat.agent.program_name);
    compat.warn_of_differences();
    write_pid_file(&setup, &compat);
    let service = connect::connect(&setup, &compat).await;
    log::info!(host = service.host_identifier(), url:% = service.url(); "the CodeDeploy service is followed at {}, as {}", service.url(), service.host_identifier());
    let (in_hand, ended) = (Mutex::default(), Notify::new());
    let follower = Arc::new(Follower {
        setup,
        compat,
        handle,
        service,
        following,
        in_hand,
        verified: take::Verified::default(),
        ended,
    });
    take::report_commands_of_the_agent(&follower).await;
    take::go_on(&follower);
    tokio::join!(poll::poll(Arc::clone(&follower)), report::report(Arc::clone(&follower)), tracking::track(&follower));
}

/// Shows scripts and users that this process serves the host.
fn write_pid_file(setup: &Setup, compat: &CodeDeployCompat) {
    let pid_file = compat.pid_file(&setup.layout);
    if let Err(error) = codedeploy_agent::write_pid_file(&pid_file) {
        log::warn!("the pid file {} is not written: {error}", pid_file.display());
    }
}
