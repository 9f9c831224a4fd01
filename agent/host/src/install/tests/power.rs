//! Power loss: unsynchronised data may be missing, in any selection.

use super::*;

/// Checks that all changes of these kinds were synchronised before a step.
fn assert_synced_before(steps: &[Step], mark: Phase, changes: impl Fn(&Step) -> bool) {
    let marked = steps.iter().position(|step| *step == Step::Mark(mark)).unwrap();
    let last = steps[..marked].iter().rposition(changes).expect("there are changes before the mark");
    let synced = steps[..marked].iter().rposition(|step| *step == Step::Sync).expect("there is a synchronisation");
    assert!(last < synced, "{mark:?} is marked at {marked}, a change at {last} after the synchronisation at {synced}");
    let later = steps[marked..].iter().take_while(|step| !matches!(step, Step::Mark(phase) if *phase != mark));
    assert!(later.count() > 0);
}

#[test]
fn each_phase_is_marked_only_when_what_it_says_is_on_disk() {
    let world = World::update();
    let forward = Faulty::never();
    world.run(&forward).unwrap();
    let steps = forward.steps();
    let stages = |step: &Step| matches!(step, Step::Make(_) | Step::Write(_) | Step::Finish(_) | Step::Staged);
    let swaps = |step: &Step| matches!(step, Step::Swap(_) | Step::SwapRest(_));
    assert_synced_before(&steps, Phase::Installed, swaps);
    let first_swap = steps.iter().position(swaps).unwrap();
    assert!(steps.iter().rposition(stages).unwrap() < first_swap, "nothing takes effect before all is staged");
    let swapping = steps.iter().position(|step| *step == Step::Mark(Phase::Swapping)).unwrap();
    let synced = steps[..first_swap].iter().rposition(|step| *step == Step::Sync).unwrap();
    assert!(steps[synced..first_swap].iter().all(|step| !stages(step)), "what is staged is on disk before a swap");
    assert!(swapping < synced, "nothing takes effect before the phase says so on disk");
    let record = steps.iter().position(|step| *step == Step::Record).unwrap();
    assert!(record < steps.iter().position(stages).unwrap(), "nothing is staged before the journal is on disk");

    let back = Faulty::never();
    undo_with(&world.journal(), &back).unwrap();
    let steps = back.steps();
    assert_synced_before(&steps, Phase::Staging, |step| matches!(step, Step::Restore(_) | Step::RestoreRest(_)));
    assert_synced_before(&steps, Phase::Undone, |step| matches!(step, Step::Delete(_) | Step::Times));

    let world = World::update();
    world.run(&Faulty::never()).unwrap();
    let commit = Faulty::never();
    commit_with(&world.journal(), &commit).unwrap();
    assert_synced_before(&commit.steps(), Phase::Committed, |step| matches!(step, Step::Delete(_)));
}

#[test]
fn staged_content_that_was_lost_does_no_harm() {
    let all = Faulty::never();
    World::update().run(&all).unwrap();
    let staged = all.steps().iter().position(|step| *step == Step::Mark(Phase::Swapping)).unwrap();
    for at in 0..=staged {
        let world = World::update();
        let before = world.tree();
        assert!(world.run(&Faulty::at(at, Fault::Kill)).is_err());
        for path in paths(&world.root()) {
            let path = world.root().join(path);
            let staged = path.to_string_lossy().contains(".hostler-");
            if staged && std::fs::symlink_metadata(&path).unwrap().is_file() {
                std::fs::File::create(&path).unwrap();
            }
        }
        world.settle();
        assert_same(&world.tree(), &before, &format!("power lost at step {at}"));
    }
}

/// The present place of a path: its directory may be among the backups.
fn now(world: &World, layout: &Layout<'_>, path: &Path) -> PathBuf {
    let (parent, name) = place(path);
    let removed = layout.actions().find(|(_, other)| other.path().as_path() == parent);
    let moved = removed.map(|(number, _)| world.backups().join(backups::name(number)));
    match moved.filter(|moved| moved.exists()) {
        Some(moved) => moved.join(name),
        None if parent == path => world.root(),
        None => now(world, layout, parent).join(name),
    }
}

/// Some of the renames of the swaps reached the disk and others did not, in any order.
#[test]
fn any_selection_of_swaps_may_be_lost() {
    let all = Faulty::never();
    World::update().run(&all).unwrap();
    let installed = all.steps().iter().position(|step| *step == Step::Mark(Phase::Installed)).unwrap();
    for selection in 0..200_u64 {
        let world = World::update();
        let before = world.tree();
        assert!(matches!(world.run(&Faulty::at(installed, Fault::Kill)), Err(InstallError::Killed)));
        let layout = Layout::new(&world.deployment, &world.plan);
        // Directories before their contents.
        for (number, action) in layout.actions().rev() {
            // The old and the new file at a path are one directory entry's history: they are lost in order, which the
            // exhaustive kills show.
            let single = world.plan.actions.iter().filter(|other| other.path() == action.path()).count() == 1;
            let inside = matches!(layout.standing(number), layout::Standing::Inside(_));
            let lost = (selection.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (number % 61)) & 1 == 1;
            if inside || !single || !lost {
                continue;
            }
            let target = world.host(&action.path().to_string_lossy());
            let temporary = target.with_file_name(layout.names.name(number));
            let backup = world.backups().join(backups::name(number));
            match action {
                Action::PutFile { replaces, .. } | Action::PutLink { replaces, .. } => {
                    std::fs::rename(&target, &temporary).unwrap();
                    if *replaces {
                        std::fs::hard_link(&backup, &target).unwrap();
                    }
                }
                Action::MakeDirectory { .. } => std::fs::rename(&target, &temporary).unwrap(),
                Action::Remove { kind, .. } => {
                    let at = now(&world, &layout, action.path());
                    match kind {
                        InstalledKind::Directory if backup.exists() => std::fs::rename(&backup, at).unwrap(),
                        InstalledKind::Directory => {}
                        _ => std::fs::hard_link(&backup, at).unwrap(),
                    }
                }
                Action::KeepDirectory { .. } => {}
            }
        }
        assert_eq!(world.settle(), Settled::Undone(Undone::default()), "selection {selection}");
        assert_same(&world.tree(), &before, &format!("selection {selection}"));
    }
}
