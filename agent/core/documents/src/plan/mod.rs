//! The plan of an Install: ordered actions without open decisions, or all the reasons why it is not possible.
//!
//! ```text
//! appspec + bundle listing + last install --wanted()--> Wanted: every destination with its source and permissions,
//!                                                       and the paths and names of the host to look at
//! Wanted + HostFacts                      --plan()----> Plan, or every Problem
//! Plan + compared contents             --Summary::new-> what a person is shown
//! ```
//!
//! A plan touches only the destinations that the appspec names, missing directories above them, and the paths of the
//! last install. Below a destination it follows no symbolic link, except in the CodeDeploy agent's place, by steps that
//! the path rule allows. It removes only objects in places where the group put something: a link or file that replaced
//! an installed object makes room for the object that comes there now. It never removes paths that another group of the
//! host installed, and removes a directory only if the group made it and it is otherwise empty. CONFORMANCE.md lists the
//! differences from the CodeDeploy agent in a table that a test reads.

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
