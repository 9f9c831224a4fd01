//! The controller beside a real engine and a directory of scripts.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::controller::{Sources, start};
use crate::engine;
use crate::setup::SetupWatch;
use crate::test_support::{listen, logged, setup};

#[tokio::test(start_paused = true)]
async fn scripts_that_came_are_found_by_a_reload_and_a_failure_is_logged_once_for_each_run() {
    listen();
    let root = tempfile::tempdir().unwrap();
    let setup = setup(root.path(), "");
    let scripts = setup.layout.machine_scripts(MachineEvent::Setup);
    let handle = engine::doubles::start(State::default());
    let (setups, setup_watch) = SetupWatch::new(Arc::new(setup));
    let health = tokio::sync::watch::Sender::default();
    let sources = Sources::new(setup_watch, handle.state(), health.subscribe());
    let runner = Runner::new(handle.clone(), "i-1".parse().unwrap(), Launcher::Plain, "/nowhere".into());
    start(&sources, move || runner.clone());
    let now = async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.state().borrow().machine_events.clone()
    };
    assert!(now().await.present.is_empty());

    fs::create_dir_all(&scripts).unwrap();
    let script = scripts.join("10-users");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o757)).unwrap();
    assert!(now().await.present.is_empty(), "nothing has called it");
    for run in 1..=2 {
        setups.send_modify(|setup| *setup = Arc::new(Setup::clone(setup)));
        let found = now().await;
        assert!(found.present.contains(&MachineEvent::Setup) && found.queue.is_empty(), "{found:?}");
        let last = found.last.get(&MachineEvent::Setup).unwrap();
        assert_eq!(last.number, run, "a refused Setup is to be run again");
        assert!(last.failures[0].contains("can be written by others than its owner"), "{last:?}");
        let logged = logged();
        let errors: Vec<_> = logged.iter().filter(|line| line.starts_with("ERROR")).collect();
        assert!(errors.len() == 1 && errors[0].contains("the machine event Setup failed"), "{logged:?}");
    }
    fs::remove_file(&script).unwrap();
    setups.send_modify(|setup| *setup = Arc::new(Setup::clone(setup)));
    assert!(now().await.present.is_empty());
}
