//! A problem that goes on is logged when it begins, and not at each try: a service that is away for a night must not
//! fill the log.

/// One thing that may have a problem.
#[derive(Debug, Default)]
pub struct LogOnce {
    /// The last problem; empty where only its being there counts.
    problem: Option<String>,
}

impl LogOnce {
    /// Notes a problem. True if there was none before: it is to be logged. What it says does not count.
    pub fn begins(&mut self) -> bool {
        self.problem.replace(String::new()).is_none()
    }

    /// Notes a problem. True if it differs from the one before: it is to be logged. The text must hold nothing that
    /// differs each time ([`crate::failure::Failure::without_request_ids`]).
    pub fn differs(&mut self, problem: &str) -> bool {
        if self.problem.as_deref() == Some(problem) {
            return false;
        }
        self.problem = Some(problem.to_owned());
        true
    }

    /// Notes that there is no problem. True if there was one: its end is to be logged.
    pub fn ends(&mut self) -> bool {
        self.problem.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_logged_once_whatever_it_says_and_its_end_once() {
        let mut log = LogOnce::default();
        assert!(!log.ends(), "nothing was wrong");
        assert_eq!([log.begins(), log.begins(), log.begins()], [true, false, false]);
        assert_eq!([log.ends(), log.ends()], [true, false]);
        assert!(log.begins(), "the same problem again, after it was over");
    }

    #[test]
    fn another_problem_is_logged_as_a_new_one() {
        let mut log = LogOnce::default();
        let told = ["denied", "denied", "away", "away", "denied"].map(|problem| log.differs(problem));
        assert_eq!(told, [true, false, true, false, true]);
        assert_eq!([log.ends(), log.ends()], [true, false]);
        assert!(log.differs("denied"));
    }
}
