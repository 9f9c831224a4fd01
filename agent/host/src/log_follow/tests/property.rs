//! Any events in any order.

use proptest::prelude::*;

use super::world::{ROTATIONS, World};

/// The possible events, in any order.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Rotate,
    Pass(u64),
    Look,
    Deliver,
    LoseAnswer,
    DieBeforeSending,
    DieBeforeAnswer,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..400_usize).prop_map(Step::Write),
        3 => Just(Step::Rotate),
        3 => (1..3000_u64).prop_map(Step::Pass),
        3 => Just(Step::Look),
        4 => Just(Step::Deliver),
        1 => Just(Step::LoseAnswer),
        1 => Just(Step::DieBeforeSending),
        1 => Just(Step::DieBeforeAnswer),
        2 => Just(Step::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 100 } else { 2000 }))]

    /// After any writes, rotations, losses and kills, every line arrives, in order. Only a batch whose answer was lost
    /// or that was out at a crash comes again, unchanged.
    #[test]
    fn every_line_arrives_in_order_through_rotations_crashes_and_outages(
        steps in proptest::collection::vec(step(), 1..40),
        glob: bool,
        // A log is rotated in one way.
        rotation in proptest::sample::select(&ROTATIONS[..]),
    ) {
        let mut world = World::new(if glob { "app.log*" } else { "app.log" });
        // A log that was never seen at its path is not searched for at other paths.
        world.write(1);
        world.start();
        world.pass(1);
        let mut repeats = 0;
        for step in steps {
            match step {
                Step::Write(lines) => world.write(lines),
                Step::Rotate => world.rotate(rotation),
                Step::Pass(milliseconds) => world.now += milliseconds,
                Step::Look => world.pass(0),
                Step::Deliver => { world.deliver_one(); }
                Step::LoseAnswer => if let Some(out) = world.next() {
                    world.take(&out);
                    repeats += 1;
                    world.tail().release(&out.ticket, "no answer".to_owned());
                },
                Step::DieBeforeSending => { world.next(); world.crash(); world.start(); world.pass(0); }
                Step::DieBeforeAnswer => {
                    if let Some(out) = world.next() {
                        world.take(&out);
                        repeats += 1;
                    }
                    world.crash();
                    world.start();
                    world.pass(0);
                }
                Step::Die => { world.crash(); world.start(); world.pass(0); }
            }
        }
        world.deliver();
        world.deliver();
        prop_assert_eq!(world.checked(repeats), Ok(()));
    }
}
