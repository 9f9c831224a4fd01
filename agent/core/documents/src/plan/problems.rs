//! All reasons why an Install is not possible, up to the number that a reader can use.

use std::collections::BTreeSet;
use std::ops::Deref;

use super::problem::{Fact, Problem, ProblemCode};
use crate::limits::Limits;

/// The first reasons in the order of their discovery, and the number of further ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    bytes: usize,
    left_out: usize,
    /// The kinds of the reasons that were left out.
    kinds_left_out: BTreeSet<ProblemCode>,
    /// Whether a fact of the bundle was left out.
    bundle_left_out: bool,
}

impl Problems {
    /// Adds one, or counts it.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.left_out += 1;
            self.kinds_left_out.insert(problem.code);
            self.bundle_left_out |= problem.fact == Fact::Bundle;
            return;
        }
        self.bytes += problem.message.len() + problem.hint.len();
        self.kept.push(problem);
    }

    /// Whether further reasons are only counted.
    pub(super) fn is_full(&self) -> bool {
        let limits = Limits::default();
        self.kept.len() >= limits.plan_problems || self.bytes >= limits.plan_problem_bytes
    }

    /// Whether there is a reason of this kind, kept or not.
    pub fn has(&self, code: ProblemCode) -> bool {
        self.kinds_left_out.contains(&code) || self.kept.iter().any(|problem| problem.code == code)
    }

    /// The number of reasons that are not kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether all of them, including those not kept, are facts of the host.
    pub fn are_of_the_host(&self) -> bool {
        !self.bundle_left_out && self.kept.iter().all(|problem| problem.fact == Fact::Host)
    }
}

impl Deref for Problems {
    type Target = [Problem];

    fn deref(&self) -> &[Problem] {
        &self.kept
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.push(problem);
        problems
    }
}

impl From<Problems> for Vec<Problem> {
    fn from(problems: Problems) -> Self {
        problems.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: ProblemCode) -> Problem {
        Problem::new(code, "what is wrong".to_owned(), "what to do")
    }

    #[test]
    fn a_kind_that_comes_behind_the_bound_is_known_and_not_kept() {
        let mut problems = Problems::default();
        while !problems.is_full() {
            problems.push(problem(ProblemCode::UnknownUser));
        }
        let kept = problems.len();
        assert!(!problems.has(ProblemCode::LinkBelowDestination) && problems.are_of_the_host());
        problems.push(problem(ProblemCode::LinkBelowDestination));
        assert!(problems.has(ProblemCode::LinkBelowDestination) && problems.are_of_the_host());
        problems.push(problem(ProblemCode::SourceMissing));
        assert!(problems.has(ProblemCode::SourceMissing) && !problems.are_of_the_host());
        assert_eq!((problems.len(), problems.left_out()), (kept, 2));
    }
}
