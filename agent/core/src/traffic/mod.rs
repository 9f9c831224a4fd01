//! Out of service and back (docs/protocols/auto-scaling.md#out-of-service): by the Auto Scaling group's Standby, or out
//! of the load balancers' target groups.
//!
//! ```text
//! settings, group        --choose-->   a way, or why there is none
//! journal                --is_due-->   put back by itself, or left out of service and reported
//! what the service says  --next-->     ask it, wait, done, or gone
//! ```
//!
//! The journal has each removal before the first call that makes it, and keeps it until the host was put back.

mod choose;
mod journal;
mod next;
mod settings;

pub use choose::{GroupFacts, Misfit, Way, choose, common_misfit, fits};
pub use journal::{Place, Problem, PutBack, PutBackWork, Target, TrafficPhase, Withdrawal};
pub use next::{Next, TargetHealth, deregistered, drained, in_standby, out_of_standby, registered};
pub use settings::{TrafficMode, TrafficSettings};

/// Seconds for which EC2's application status checks are suppressed. The suppression ends without another call.
pub const SUPPRESSION_SECONDS: u64 = 3600;

#[cfg(test)]
mod tests;
