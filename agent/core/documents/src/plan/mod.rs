//! The plan of an Install: ordered actions with no choices left, or all the reasons why not.
//!
//! ```text
//! appspec + bundle listing + last install --wanted()--> Wanted: every destination with its source and permissions,
//!                                                       and the paths and names of the host to look at
//! Wanted + HostFacts                      --plan()----> Plan, or every Problem
//! Plan + compared contents             --Summary::new-> what a person is shown
//! ```
//!
//! What is promised: a plan touches the destinations that the appspec names, what is missing above them, and what the
//! last install put there; nothing else. Below a destination no symbolic link is followed, but in the CodeDeploy agent's
//! place by steps that the path rule allows. What is removed stands where the group put something: a link or file that
//! took the place of what it installed makes way for what it installs there now. What another group of the host installed
//! is never removed, and a directory only if the group made it and nothing else is in it.
//! How this differs from the CodeDeploy agent is listed in SEMANTICS.md, whose table a test reads.

pub mod actions;
mod attributes;
mod decide;
mod facts;
mod guards;
mod leftovers;
mod look_at;
mod needs;
mod neighbours;
mod path_facts;
mod paths;
mod permissions;
mod problem;
mod problems;
mod scripts;
mod source;
mod summary;
mod wanted;
mod ways;

pub use decide::plan;
pub use facts::{AgentFact, DeviceFact, DirectoryFact, Guard, HostFacts, Leads, PathFact};
pub use neighbours::warnings;
pub use path_facts::PathFacts;
pub use problem::{Fact, Problem, ProblemCode};
pub use problems::Problems;
pub use scripts::{
    Remedy, ScriptFacts, ScriptProblem, ScriptQuestions, ScriptUser, Scripts, SearchPath, judge_scripts,
};
pub use summary::{Change, ContentComparison, Summary, SummaryEntry};
pub use wanted::{Follow, LookAt, Wanted, WantedKind, WantedObject, destinations, wanted};
pub use ways::{Identity, LastPlaces, Place, UnsafeEntry, refused_ways};
