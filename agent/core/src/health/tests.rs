use proptest::prelude::*;

use super::*;

fn check(successes: u64, failures: u64, grace_seconds: u64, deadline_seconds: u64) -> Check {
    Check {
        name: "web".to_owned(),
        probe: Probe::Http(HttpProbe { url: "http://127.0.0.1:8080/health".to_owned(), ..HttpProbe::default() }),
        interval_seconds: 1,
        timeout_seconds: 1,
        successes,
        failures,
        grace_seconds,
        deadline_seconds,
    }
}

fn fail() -> Result<(), String> {
    Err("503".to_owned())
}

#[test]
fn a_cause_says_how_many_of_the_last_answers_failed_and_why() {
    let mut tracker = Tracker::new(check(1, 3, 0, 60), 0);
    for (second, answer) in [Ok(()), Ok(()), fail(), fail(), fail()].into_iter().enumerate() {
        tracker.observe(answer, second as u64 * 1000);
    }
    let report = HealthReport::new(&[tracker]).unwrap();
    assert_eq!(report.causes, ["3 of 5 checks of http://127.0.0.1:8080/health failed: 503"]);
    assert_eq!((report.colour, report.since_ms), (Colour::Red, 4000));
    assert!(!report.is_healthy());
}

#[test]
fn one_failure_is_a_warning_that_passes() {
    let mut tracker = Tracker::new(check(2, 3, 0, 60), 0);
    let mut colours = Vec::new();
    for second in 0..10 {
        tracker.observe(if second == 3 { fail() } else { Ok(()) }, second * 1000);
        colours.push(HealthReport::new(std::slice::from_ref(&tracker)).unwrap().colour);
    }
    let (grey, green, yellow) = (Colour::Grey, Colour::Green, Colour::Yellow);
    assert_eq!(colours, [grey, green, green, yellow, yellow, yellow, yellow, yellow, green, green]);
    assert_eq!(tracker.report().since_ms, 8000);
}

#[test]
fn an_application_that_is_slow_to_start_has_until_its_deadline() {
    let mut trackers = [Tracker::new(check(2, 3, 60, 60), 0)];
    for second in 0..58 {
        trackers[0].observe(fail(), second * 1000);
        assert_eq!(validate(&trackers, second * 1000), Gate::Waiting, "{second}");
    }
    trackers[0].observe(Ok(()), 58_000);
    assert_eq!(validate(&trackers, 58_000), Gate::Waiting);
    trackers[0].observe(Ok(()), 59_000);
    assert_eq!(validate(&trackers, 59_000), Gate::Passed);
    assert_eq!(validate(&trackers, 61_000), Gate::Passed, "it was healthy in time");
}

#[test]
fn at_the_deadline_the_gate_says_what_was_missing() {
    let mut trackers = [Tracker::new(check(2, 30, 60, 60), 0)];
    assert!(matches!(validate(&trackers, 60_000), Gate::Failed(why) if why.contains("web has not answered enough")));
    trackers[0].observe(fail(), 59_000);
    let failed = "not healthy within 60 s: last answer of http://127.0.0.1:8080/health: 503";
    assert_eq!(validate(&trackers, 60_000), Gate::Failed(failed.to_owned()));
    trackers[0].observe(Ok(()), 59_500);
    let failed = "not healthy within 60 s: 1 of 2 checks of http://127.0.0.1:8080/health failed: 503, and not enough \
                  answers in a row succeeded since";
    assert_eq!(validate(&trackers, 60_000), Gate::Failed(failed.to_owned()));
}

#[test]
fn the_first_failure_and_each_change_of_the_answer_is_said_and_no_answer_twice() {
    let (mut trackers, mut said) = ([Tracker::new(check(2, 30, 60, 60), 0)], SaidAnswers::default());
    let mut told = Vec::new();
    let refused = || Err("connection refused".to_owned());
    for (second, answer) in [refused(), refused(), fail(), fail(), Ok(()), Ok(()), fail()].into_iter().enumerate() {
        assert!(said.news(&trackers).is_empty(), "nothing is new before the next answer");
        trackers[0].observe(answer, second as u64 * 1000);
        told.extend(said.news(&trackers));
    }
    let of = |answer: &str| format!("health check of http://127.0.0.1:8080/health: {answer}");
    assert_eq!(told, [of("connection refused"), of("503"), of("succeeded"), of("503")]);
    // A check that is healthy at once is not said at all, and one that changes all the time not without an end.
    let (mut trackers, mut said) = ([Tracker::new(check(2, 30, 60, 60), 0)], SaidAnswers::default());
    trackers[0].observe(Ok(()), 0);
    assert!(said.news(&trackers).is_empty());
    let mut told = Vec::new();
    for number in 0..100 {
        trackers[0].observe(Err(format!("answer {number}")), 0);
        told.extend(said.news(&trackers));
    }
    assert_eq!(told.len(), 20);
    assert!(told[19].ends_with("answer 19; further answers are not shown"), "{told:?}");
}

#[test]
fn after_its_grace_failures_in_a_row_end_the_wait_before_the_deadline() {
    let mut trackers = [Tracker::new(check(2, 3, 10, 300), 0)];
    for second in 0..10 {
        trackers[0].observe(fail(), second * 1000);
        assert_eq!(validate(&trackers, second * 1000), Gate::Waiting);
    }
    trackers[0].observe(fail(), 10_000);
    assert!(matches!(validate(&trackers, 10_000), Gate::Failed(_)));
}

#[test]
fn one_unhealthy_check_holds_all_the_others() {
    let mut healthy = Tracker::new(check(1, 3, 0, 60), 0);
    healthy.observe(Ok(()), 0);
    let waiting = Tracker::new(check(1, 3, 0, 60), 0);
    assert_eq!(validate(&[healthy.clone()], 0), Gate::Passed);
    assert_eq!(validate(&[healthy, waiting], 0), Gate::Waiting);
    assert_eq!(validate(&[], 0), Gate::Passed);
}

#[test]
fn in_the_bake_time_nothing_may_become_unhealthy() {
    let mut trackers = [Tracker::healthy(check(2, 2, 60, 60), 0)];
    trackers[0].observe(fail(), 1000);
    assert_eq!(bake(&trackers, 5000, 1000), Gate::Waiting);
    trackers[0].observe(fail(), 2000);
    assert!(matches!(bake(&trackers, 5000, 2000), Gate::Failed(why) if why.contains("bake time: 2 of 2")));
    let still = [Tracker::healthy(check(2, 2, 60, 60), 0)];
    assert_eq!(bake(&still, 5000, 4999), Gate::Waiting);
    assert_eq!(bake(&still, 5000, 5000), Gate::Passed);
}

proptest! {
    /// A verdict changes only after a run of answers as long as its threshold.
    #[test]
    fn a_verdict_needs_its_threshold(successes in 1..4u64, failures in 1..4u64, answers in prop::collection::vec(any::<bool>(), 1..60)) {
        let mut tracker = Tracker::new(check(successes, failures, 0, 60), 0);
        for (at, good) in answers.iter().enumerate() {
            let before = tracker.verdict();
            tracker.observe(if *good { Ok(()) } else { fail() }, at as u64);
            let run = answers[..=at].iter().rev().take_while(|a| *a == good).count() as u64;
            let threshold = if *good { successes } else { failures };
            let reached = if *good { Verdict::Healthy } else { Verdict::Unhealthy };
            prop_assert_eq!(tracker.verdict(), if run >= threshold { reached } else { before });
        }
    }
}
