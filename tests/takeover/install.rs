//! Installs that were killed in the middle.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::disk::{Boot, kept};
use super::{history_goes_on, once};
use crate::support::host::{Host, hook_lines_of, tree};

/// The revisions with files on the host.
pub fn versions(host: &Host) -> BTreeSet<String> {
    let files = (0..8).map(|number| fs::read_to_string(host.at(format!("srv/app/{number}"))));
    files.map(|file| file.unwrap_or_else(|_| "none".to_owned())).collect()
}

/// The phase of the Install that has not ended.
pub fn open_phase(host: &Host) -> Option<String> {
    let phases = ["staging", "swapping", "installed", "undoing", "committing"];
    let open = host.kept_deployments().into_iter().flat_map(|id| {
        let journal = host.deployment(&id).join("install-journal");
        // An empty journal was prepared for an Install that has not begun.
        let begun = |path: PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        phases.iter().filter(move |phase| begun(journal.join(format!("install.{phase}.json"))))
    });
    open.map(|phase| (*phase).to_owned()).next()
}

/// Files of v1 and v2 are not mixed, and no file has a temporary name.
#[track_caller]
fn is_whole(host: &Host, version: &str) {
    assert_eq!(versions(host), BTreeSet::from([version.to_owned()]));
    let other = if version == "v1" { "v2" } else { "v1" };
    assert!(host.at(format!("srv/app/only-{version}")).exists() && !host.at(format!("srv/app/only-{other}")).exists());
    let left: Vec<_> =
        tree(&host.at("srv")).into_keys().filter(|path| path.to_string_lossy().contains(".hostler")).collect();
    assert_eq!(left, [""; 0].map(PathBuf::from));
    assert_eq!(open_phase(host), None);
}

#[test]
fn an_install_that_was_killed_in_its_middle_is_undone_and_done_again() {
    let Some(host) = kept("install-swapping", Boot::Same) else { return };
    assert_eq!(versions(&host).len(), 2, "old and new side by side");
    host.ok(&once(&host)).saying(&["was interrupted; taken up again, it succeeded"]);
    is_whole(&host, "v2");
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"), "no script runs twice");
    assert_eq!(host.status()["condition"], "good");
    history_goes_on(&host);
}

#[test]
fn after_another_boot_the_old_revision_is_put_back_before_anything_starts() {
    let Some(host) = kept("install-swapping", Boot::Another) else { return };
    let before = host.hook_lines();
    host.ok(&["run", "--recover"]);
    is_whole(&host, "v1");
    assert_eq!(host.hook_lines(), before, "recovery runs no scripts");
    host.run(&once(&host)).with_code(1).saying(&["interrupted"]);
    is_whole(&host, "v1");
    assert_eq!(host.status()["condition"], "rolled_back");
    history_goes_on(&host);
}

#[test]
fn an_install_that_was_killed_while_it_tidied_up_is_completed() {
    for boot in [Boot::Same, Boot::Another] {
        let Some(host) = kept("install-committing", boot) else { return };
        host.ok(&["run", "--recover"]);
        assert_eq!(versions(&host), BTreeSet::from(["v2".to_owned()]), "{boot:?}");
        host.ok(&once(&host));
        is_whole(&host, "v2");
        assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"), "{boot:?}: no script runs twice");
        assert_eq!(host.status()["condition"], "good", "{boot:?}");
        history_goes_on(&host);
    }
}
