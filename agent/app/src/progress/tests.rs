//! The lines of a deployment's end, and those of an event that takes long.

use super::*;

fn finished(event: Option<LifecycleEvent>, no_rollback: Option<NoRollback>, installed: Option<&str>) -> Progress {
    let failure = event.map(|event| DeploymentFailure {
        event,
        script: None,
        message: "no".to_owned(),
        tail: Vec::new(),
        kind: FailureKind::Other,
    });
    Progress::Finished {
        deployment: "d-1".parse().unwrap(),
        outcome: if event.is_some() { Outcome::Failed } else { Outcome::Succeeded },
        failure,
        milliseconds: 280,
        rollback: None,
        no_rollback,
        installed: installed.map(str::to_owned),
    }
}

#[test]
fn a_failed_deployment_says_which_revision_is_installed_and_why_no_rollback_follows() {
    use LifecycleEvent::{ApplicationStart, DownloadBundle};
    let old = Some("1.4.2 (4d8271e2)");
    for (event, why, installed, expected) in [
        (
            DownloadBundle,
            NoRollback::NothingTouched,
            old,
            "nothing was touched: 1.4.2 (4d8271e2) is installed as before",
        ),
        (DownloadBundle, NoRollback::NothingTouched, None, "nothing was touched: nothing of the group is installed"),
        (
            ApplicationStart,
            NoRollback::NoGoodRevision,
            Some("9eb01c2f"),
            "no rollback follows: no revision has succeeded on this host yet. The host stays as it is: 9eb01c2f is installed",
        ),
        (
            ApplicationStart,
            NoRollback::TurnedOff,
            old,
            "no rollback follows: none is set up for this failure. The host stays as it is: 1.4.2 (4d8271e2) is installed",
        ),
    ] {
        let text = line(&finished(Some(event), Some(why), installed), false, false);
        assert_eq!(text, format!("  {event} failed: no\nd-1 failed after 0.28 s\n{expected}\n"));
    }
    // A deployment that succeeds needs no further line; the rollback after a failure does.
    assert_eq!(line(&finished(None, None, old), false, false), "d-1 succeeded after 0.28 s\n");
    let again = "d-1 succeeded after 0.28 s\n1.4.2 (4d8271e2) is installed again\n";
    assert_eq!(line(&finished(None, None, old), true, false), again);
}

#[test]
fn a_rollback_without_space_is_not_said_to_be_final() {
    let mut ended = finished(Some(LifecycleEvent::Install), Some(NoRollback::NoNewRevision), Some("4d8271e2"));
    if let Progress::Finished { failure: Some(failure), .. } = &mut ended {
        failure.kind = FailureKind::NoSpace;
    }
    assert_eq!(end_text(&ended, true), "4d8271e2 is installed\n");
}

#[test]
fn what_a_daemon_of_an_earlier_version_sends_is_read() {
    let sent = serde_json::to_value(finished(Some(LifecycleEvent::AfterInstall), None, None)).unwrap();
    assert!(sent.get("no_rollback").is_none() && sent.get("installed").is_none(), "{sent}");
    let read: Progress = serde_json::from_value(sent).unwrap();
    assert_eq!(end_text(&read, false), "no rollback follows: the host stays as it is\n");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_takes_long_says_so_where_no_line_is_rewritten() {
    let mut printer = Printer::new(false, "d-1".parse().unwrap());
    printer.running = Some(Running::new(LifecycleEvent::ValidateService));
    let mut lines = Vec::new();
    while lines.len() < 3 {
        // Another answer of the daemon may end the wait early.
        assert!(tokio::time::timeout(Duration::from_secs(1), printer.refresh_due()).await.is_err());
        printer.refresh_due().await;
        let running = printer.running.as_mut().unwrap();
        lines.extend(running.line(&Moment::default()));
        assert_eq!(running.line(&Moment::default()), None, "once");
    }
    let seconds: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(seconds, ["15", "30", "60"], "{lines:?}");
    assert!(lines[0].starts_with("  ValidateService      goes on "), "{lines:?}");
    assert!(lines[0].ends_with(" s  waits for its scripts and health checks\n"), "{lines:?}");
    let moment = Moment { script: Some("hooks/check.sh".to_owned()), ..Moment::default() };
    printer.refresh_due().await;
    let line = printer.running.as_mut().unwrap().line(&moment).unwrap();
    assert!(line.ends_with(" s  hooks/check.sh\n"), "{line}");
}

#[test]
fn a_removal_says_what_it_does_in_the_events_of_a_deployment() {
    let shown = |event, removes| {
        let (deployment, status) = ("d-1".parse().unwrap(), StepStatus::Succeeded);
        line(&Progress::EventFinished { deployment, event, status, milliseconds: 20 }, false, removes)
    };
    assert_eq!(shown(LifecycleEvent::Install, true), "  removal of files     succeeded   0.02 s\n");
    assert_eq!(shown(LifecycleEvent::DownloadBundle, true), "  check                succeeded   0.02 s\n");
    assert_eq!(shown(LifecycleEvent::ApplicationStop, true), "  ApplicationStop      succeeded   0.02 s\n");
    assert_eq!(shown(LifecycleEvent::Install, false), "  Install              succeeded   0.02 s\n");
}
