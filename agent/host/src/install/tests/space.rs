//! A small file system that fills up at every point of a run.

use std::io::ErrorKind;

use super::*;

#[test]
fn a_full_disk_at_any_page_leaves_the_old_state() {
    const PAGE: usize = 4096;
    let small = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::memory(small.path(), 64 * PAGE) else { return };
    let (mut full, mut succeeded) = (0, 0);
    for free in 0..40 {
        let world = World::update();
        // The root and the journal are on the small file system, and the bundle is not.
        let top = small.path().join(format!("at-{free}"));
        std::fs::create_dir(&top).unwrap();
        let copied = Command::new("cp").arg("-a").arg(world.root()).arg(&top).status().unwrap();
        assert!(copied.success());
        let (root, journal, archive) = (top.join("root"), top.join("journal"), world.archive());
        std::fs::create_dir(&journal).unwrap();
        let before = tree(&root);
        let ballast = top.join("ballast");
        fill(&ballast, free * PAGE);
        let request = InstallRequest {
            deployment: &world.deployment,
            archive: &archive,
            root: &root,
            journal: &journal,
            links: &[],
            destinations: &[],
            plan: &world.plan,
        };
        match run(&request) {
            Ok(_) => {
                succeeded += 1;
                undo(&journal).unwrap();
            }
            Err(error) => {
                assert!(matches!(error, InstallError::NoSpace { .. }), "{free} pages free: {error}");
                full += 1;
            }
        }
        assert_same(&tree(&root), &before, &format!("{free} pages free"));
        assert!(matches!(state(&journal).unwrap(), JournalState::None | JournalState::Undone));
        std::fs::remove_dir_all(&top).unwrap();
    }
    println!("{full} runs met a full disk, {succeeded} succeeded");
    assert!(full > 5 && succeeded > 5, "{full} full, {succeeded} succeeded");
}

/// Takes all space but so many bytes.
fn fill(path: &Path, but: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut length = 0_u64;
    loop {
        match file.write(&[1; 4096]) {
            Ok(written) => length += written as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("{error}"),
        }
    }
    file.set_len(length.saturating_sub(but as u64)).unwrap();
}
