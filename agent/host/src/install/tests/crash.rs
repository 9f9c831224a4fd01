//! Every step fails, and the process ends before every step, also during recovery.

use super::*;

fn count(world: &World, links: Links) -> usize {
    let steps = Faulty::on(links);
    world.run(&steps).unwrap();
    steps.steps().len()
}

fn faulty(at: usize, fault: Fault, links: Links) -> Faulty {
    Faulty { no_links: links.error(), ..Faulty::at(at, fault) }
}

#[test]
fn a_failure_at_any_step_leaves_the_old_state_and_the_next_run_succeeds() {
    for links in Links::BOTH {
        let reference = World::update();
        let steps = count(&reference, links);
        let after = contents(&reference.tree());
        assert!(steps > 60, "{steps} steps are too few to be all");
        for at in 0..steps {
            let world = World::update();
            let before = world.tree();
            let faulty = faulty(at, Fault::Fail, links);
            let error = world.run(&faulty).unwrap_err();
            let step = faulty.steps()[at];
            let when = format!("after a failure at step {at}, {step:?}");
            assert!(matches!(error, InstallError::NoSpace { .. }), "{when}: {error}");
            assert_same(&world.tree(), &before, &when);
            assert!(matches!(world.state(), JournalState::None | JournalState::Undone), "{when}: {:?}", world.state());
            world.run(&Faulty::on(links)).unwrap();
            assert_eq!(contents(&world.tree()), after, "{when}, second run");
        }
    }
}

#[test]
fn a_kill_at_any_step_settles_to_the_old_state_even_if_recovery_is_killed_at_any_step() {
    for links in Links::BOTH {
        let steps = count(&World::update(), links);
        for at in 0..steps {
            let mut again = 0;
            loop {
                let world = World::update();
                let before = world.tree();
                let killed = faulty(at, Fault::Kill, links);
                assert!(matches!(world.run(&killed), Err(InstallError::Killed)));
                let step = killed.steps()[at];
                let when = format!("killed at step {at}, {step:?}, and at step {again} of recovery");
                let recovery = faulty(again, Fault::Kill, links);
                let stopped = settle_with(&world.journal(), &recovery);
                let settled = world.settle();
                match settled {
                    Settled::Undone(undone) => assert_eq!(undone, Undone::default(), "{when}"),
                    Settled::None => {}
                    other => panic!("{when}: {other:?}"),
                }
                assert_same(&world.tree(), &before, &when);
                again += 1;
                match stopped {
                    Err(InstallError::Killed) => {}
                    Ok(_) => break,
                    Err(error) => panic!("{when}: {error}"),
                }
            }
        }
    }
}

#[test]
fn an_undo_or_a_commit_that_is_killed_at_any_step_is_completed() {
    for links in Links::BOTH {
        for at in 0.. {
            let world = World::update();
            let before = world.tree();
            count(&world, links);
            let killed = undo_with(&world.journal(), &faulty(at, Fault::Kill, links));
            if world.settle() == Settled::Installed {
                assert_eq!(at, 0, "an undo that began is not forgotten");
                continue;
            }
            assert_same(&world.tree(), &before, &format!("undo killed at step {at}"));
            if killed.is_ok() {
                break;
            }
        }
        let reference = World::update();
        count(&reference, links);
        commit(&reference.journal()).unwrap();
        let after = contents(&reference.tree());
        for at in 0.. {
            let world = World::update();
            count(&world, links);
            let killed = commit_with(&world.journal(), &faulty(at, Fault::Kill, links));
            match world.settle() {
                Settled::Installed => assert_eq!(at, 0, "a commit that began is not forgotten"),
                Settled::Committed(committed) => {
                    assert_eq!(committed, Committed::default());
                    assert_eq!(contents(&world.tree()), after, "commit killed at step {at}");
                }
                other => panic!("{other:?}"),
            }
            if killed.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_failed_undo_stays_open_and_the_next_run_undoes_it_first() {
    let world = World::update();
    let before = world.tree();
    let all = count(&World::update(), Links::Yes);
    // Fails at the last step, and again at the first step of undoing it.
    struct Twice(usize, Faulty);
    impl Steps for Twice {
        fn before(&self, step: Step) -> Result<(), InstallError> {
            let _ = self.1.before(step);
            let seen = self.1.seen.lock().unwrap().len();
            let source = std::io::Error::from_raw_os_error(5);
            if seen >= self.0 { Err(InstallError::NoSpace { path: "disk".into(), source }) } else { Ok(()) }
        }
    }
    let error = world.run(&Twice(all, Faulty::never())).unwrap_err();
    assert!(matches!(error, InstallError::NotUndone { .. }), "{error}");
    assert_eq!(world.state(), JournalState::Open);
    world.run(&Faulty::never()).unwrap();
    undo(&world.journal()).unwrap();
    assert_same(&world.tree(), &before, "after all");
}
