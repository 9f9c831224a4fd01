//! The deployment state machine: one function, `step(state, event, now) -> (state, effects)`.
//!
//! ```text
//!             Deploy                  all steps done
//!   (idle) ------------> active  -------------------------> succeeded
//!                       |  ^  |
//!        effect begins  |  |  |  a step failed
//!                       v  |  +------------------> failed, with or without a rollback deployment after it
//!                    in flight
//! ```
//!
//! The shell persists the new state, which names each effect that begins, before it starts any of them. After a crash
//! the agent starts the same effects again from the persisted state. Each effect may safely start twice: it attaches to
//! a running hook, settles an install journal, or repeats a fetch.

mod admission;
pub mod checks;
pub mod command;
pub mod event;
mod failure;
mod progress;
pub mod proof;
mod refusal;
pub mod release_decision;
pub mod replacement;
pub mod resume;
pub mod retention;
mod rollback;
pub mod room;
pub mod seal;
mod sequence;
pub mod state;
mod step;
pub mod stopping;

pub use admission::{admit, instance_state};
pub use event::{Effect, Event, Progress, Refusal, Work, WorkResult};
pub use progress::{Moment, NoRollback};
pub use resume::{resume, take_up};
pub use rollback::{again_at_ms, earlier, is_left, last_installed_ms};
pub use state::State;
pub use step::{Context, Stepped, step};

#[cfg(test)]
mod tests;
