//! The effects beside doubles of their ports: what each port is asked, when, and what follows from its answer.

use std::fs;

use hostler_core::machine::event::{FailureKind, WorkFailure};
use hostler_core::machine::state::{Deployment, Outcome};
use hostler_core::machine::{Work, WorkResult};
use hostler_core::plan::actions::{InstalledEntry, InstalledKind};

use super::test_support::{DoubleAgent, DoubleBundles, Doubles, Host, block_on, key};
use crate::failure::fail;
use crate::ports::{Job, Worker as _};

const PAGE: &str = "version: 0.0\nos: linux\nfiles:\n  - source: page\n    destination: /srv/app\n";

fn with_agent(agent: DoubleAgent) -> Doubles {
    Doubles { agent, ..Doubles::default() }
}

fn with_bundles(bundles: DoubleBundles) -> Doubles {
    Doubles { bundles, ..Doubles::default() }
}

fn refusing(phase: &'static str) -> Doubles {
    with_agent(DoubleAgent { refuses: Some(phase), ..DoubleAgent::default() })
}

fn failure(deployment: &Deployment) -> &str {
    assert_eq!(deployment.outcome, Some(Outcome::Failed), "{deployment:?}");
    &deployment.failure.as_ref().unwrap().message
}

#[test]
fn another_agent_is_told_each_phase_of_a_deployment_once() {
    block_on(async {
        let host = Host::new(PAGE, Doubles::default());
        let done = host.deploy("d-1").await;
        assert_eq!(done.outcome, Some(Outcome::Succeeded), "{done:?}");
        assert_eq!(fs::read_to_string(host.path("srv/app/page")).unwrap(), "new");
        let told = host.ports.agent.told();
        assert_eq!(
            told,
            [
                "make room d-1",
                "unpacked d-1",
                "check bundle d-1",
                "installs d-1",
                "installed d-1: /srv /srv/app /srv/app/page",
                "finished d-1"
            ]
        );
        assert_eq!(host.ports.bundles.jobs.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_source_that_fails_ends_the_deployment_with_its_words_and_no_phase_follows() {
    block_on(async {
        for kind in [FailureKind::Other, FailureKind::Absent] {
            let fails = WorkFailure { kind, ..fail("the double has no bundle") };
            let host = Host::new(PAGE, with_bundles(DoubleBundles { fails: Some(fails), ..DoubleBundles::default() }));
            let done = host.deploy("d-1").await;
            assert_eq!(failure(&done), "the double has no bundle");
            assert_eq!(done.failure.unwrap().kind, kind);
            assert_eq!(host.ports.agent.told(), ["make room d-1", "finished d-1"]);
            assert!(!host.path("srv").exists());
        }
    });
}

#[test]
fn while_a_source_is_slow_the_other_groups_are_deployed() {
    block_on(async {
        let slow = DoubleBundles { slow: Some(key("slow")), ..DoubleBundles::default() };
        let host = Host::new("version: 0.0\nos: linux\n", with_bundles(slow));
        host.begin("slow", "d-1").await;
        let quick = host.deploy("d-2").await;
        assert_eq!(quick.outcome, Some(Outcome::Succeeded), "{quick:?}");
        assert!(!host.ports.agent.told().contains(&"unpacked d-1".to_owned()));
        // A permit, if the fetch does not wait yet.
        host.ports.bundles.gate.notify_one();
        assert_eq!(host.end("d-1").await.outcome, Some(Outcome::Succeeded));
    });
}

#[test]
fn a_record_that_cannot_be_written_leaves_the_host_as_it_was() {
    block_on(async {
        for phase in ["unpacked", "check bundle", "installs", "installed"] {
            let host = Host::new(PAGE, refusing(phase));
            let done = host.deploy("d-1").await;
            assert!(failure(&done).contains(&format!("the double refuses {phase}")), "{done:?}");
            assert!(!host.path("srv/app/page").exists(), "{phase}");
            assert_eq!(host.ports.agent.told().last().unwrap(), "finished d-1");
        }
    });
}

#[test]
fn what_another_agent_cannot_clean_up_is_a_warning() {
    block_on(async {
        for phase in ["make room", "finished"] {
            let host = Host::new(PAGE, refusing(phase));
            let done = host.deploy("d-1").await;
            assert_eq!(done.outcome, Some(Outcome::Succeeded), "{done:?}");
            assert!(done.warnings.contains(&format!("the double refuses {phase}")), "{:?}", done.warnings);
        }
    });
}

#[test]
fn the_files_of_another_agents_last_install_are_replaced() {
    block_on(async {
        let file =
            |path: &str| InstalledEntry { path: std::path::PathBuf::from(path).into(), kind: InstalledKind::File };
        let last = vec![file("/srv/app/gone"), file("/srv/app/page")];
        let host = Host::new(PAGE, with_agent(DoubleAgent { last: Some(last), ..DoubleAgent::default() }));
        fs::create_dir_all(host.path("srv/app")).unwrap();
        for name in ["gone", "page", "another"] {
            fs::write(host.path("srv/app").join(name), "old").unwrap();
        }
        let done = host.deploy("d-1").await;
        assert_eq!(done.outcome, Some(Outcome::Succeeded), "{done:?}");
        assert!(!host.path("srv/app/gone").exists());
        assert_eq!(fs::read_to_string(host.path("srv/app/page")).unwrap(), "new");
        assert_eq!(fs::read_to_string(host.path("srv/app/another")).unwrap(), "old");
    });
}

#[test]
fn without_another_agent_a_file_that_is_in_the_way_is_refused() {
    block_on(async {
        let host = Host::new(PAGE, Doubles::default());
        fs::create_dir_all(host.path("srv/app")).unwrap();
        fs::write(host.path("srv/app/page"), "old").unwrap();
        let done = host.deploy("d-1").await;
        assert!(failure(&done).contains("/srv/app/page"), "{done:?}");
        assert_eq!(fs::read_to_string(host.path("srv/app/page")).unwrap(), "old");
    });
}

#[test]
fn the_user_of_another_agents_scripts_is_looked_up_before_anything_changes() {
    block_on(async {
        let appspec = format!("{PAGE}hooks:\n  AfterInstall:\n    - location: script.sh\n");
        let agent = DoubleAgent { user: Some("no-such-user-here".to_owned()), ..DoubleAgent::default() };
        let host = Host::new(&appspec, with_agent(agent));
        let done = host.deploy("d-1").await;
        assert!(failure(&done).contains("no-such-user-here"), "{done:?}");
        assert!(!host.path("srv").exists());
    });
}

/// The result of CheckBundle for the job of an earlier deployment.
async fn checked(host: &Host) -> (Option<WorkFailure>, Vec<String>) {
    let job = host.first_job();
    let job = Job { effect: hostler_core::machine::Effect { work: Work::CheckBundle, ..job.effect.clone() }, ..job };
    match host.worker().perform(job).await {
        WorkResult::Checked { fault, warnings } => (fault, warnings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bundle_is_checked_beside_its_place_and_a_fetch_that_fails_is_no_fault_yet() {
    block_on(async {
        let host = Host::new(PAGE, Doubles::default());
        host.deploy("d-1").await;
        assert_eq!(checked(&host).await, (None, Vec::new()));
        let paths = host.setup.layout.deployment(&key("blue"), &"d-1".parse().unwrap());
        assert!(paths.checked().join("page").is_file());
        for kind in [FailureKind::Other, FailureKind::Verification] {
            let fails = WorkFailure { kind, ..fail("the double fails") };
            let host = Host::new(PAGE, with_bundles(DoubleBundles { fails: Some(fails), ..DoubleBundles::default() }));
            host.deploy("d-1").await;
            let (fault, warnings) = checked(&host).await;
            let lasts = kind == FailureKind::Verification;
            assert_eq!(fault.is_some(), lasts, "{fault:?}");
            assert_eq!(warnings.len(), usize::from(!lasts), "{warnings:?}");
        }
    });
}
