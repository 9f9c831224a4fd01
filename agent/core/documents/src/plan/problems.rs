//! All the reasons why not, of which as many are kept as a person or a program can use.

use std::collections::BTreeSet;
use std::ops::Deref;

use super::problem::{Fact, Problem, ProblemCode};
use crate::limits::Limits;

/// Reasons in the order in which they were found: the first ones, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    bytes: usize,
    left_out: usize,
    /// What kinds are among those that were left out.
    kinds_left_out: BTreeSet<ProblemCode>,
    /// Whether one of the bundle is among them.
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

    /// Whether what comes now is only counted.
    pub(super) fn is_full(&self) -> bool {
        let limits = Limits::default();
        self.kept.len() >= limits.plan_problems || self.bytes >= limits.plan_problem_bytes
    }

    /// Whether there is one of this kind, kept or not.
    pub fn has(&self, code: ProblemCode) -> bool {
        self.kinds_left_out.contains(&code) || self.kept.iter().any(|problem| problem.code == code)
    }

    /// How many more there are than those that are kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether all of them are facts of the host, those that are not kept among them.
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
