//! What an Auto Scaling group and EC2 want of this host (docs/protocols/auto-scaling.md#rules): launch, warm pool,
//! Standby, termination, interruption. Looks in, decisions out; the journal is part of the engine's state.
//!
//! ```text
//! target (IMDS), current (DescribeAutoScalingInstances), notices  --decide-->  change the journal
//!                                                                              work (deploy, stop), keep the hooks alive
//!                                                                              complete the hooks
//! ```

mod clocks;
mod decide;
mod instance_state;
mod journal;
pub mod notices;
mod work;

pub use clocks::{Clocks, Passage};
pub use decide::{Look, MARGIN_MS, Next, WITHDRAWN_MS, decide, heartbeat_is_due, needs_description};
pub use instance_state::{LifecycleState, TargetLifecycleState};
pub use journal::{
    Action, ActionKind, Change, Closed, Decided, Hook, HookOutcome, InstanceState, Lifecycle, MOST_UNKNOWN_ANSWERS,
    Opening,
};
pub use notices::{Notice, NoticeKind, Rebalance};
pub use work::{Launched, WithoutRelease, ends_deployments, flush_ms, launch, wants_flush};

#[cfg(test)]
mod tests;
