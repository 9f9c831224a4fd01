//! Deployments that the CodeDeploy service commands, one event at a time.

use super::*;
use crate::codedeploy::diagnostics::Report;
use crate::codedeploy::events::event_of;
use crate::codedeploy::local::DEFAULT_EVENTS as IN_PLACE;
use crate::codedeploy::specification::RevisionLocation;
use crate::codedeploy::wire::CommandStatus;
use crate::machine::command::{CommandStage, Order, REMEMBERED_COMMANDS};
use crate::machine::state::Script;

fn order(group: &str, deployment: u64, name: &str, scripts: usize) -> Order {
    let location = RevisionLocation::S3 {
        bucket: "b".to_owned(),
        key: "k".to_owned(),
        version: None,
        etag: None,
        bundle_type: crate::bundle::BundleType::Tgz,
    };
    let event = event_of(name);
    let has_scripts = event.is_some_and(LifecycleEvent::has_scripts);
    let hook = &hooks(&[LifecycleEvent::AfterInstall], false)[0].scripts[0];
    let mut key = key(group);
    key.codedeploy_group_id = Some(format!("id-of-{group}").parse().unwrap());
    Order {
        deployment: id(deployment),
        name: name.to_owned(),
        event,
        scripts: (0..scripts).filter(|_| has_scripts).map(|_| Script::new(id(deployment), hook)).collect(),
        checks_bundle_first: true,
        request: Request {
            key,
            purpose: Purpose::Commanded,
            source: Source::CodeDeploy { location, reuse: None },
            policy: Policy { rollback: RollbackPolicy::Never, ..Policy::default() },
            ..request(group, None)
        },
    }
}

impl Host {
    fn receive(&mut self, identifier: &str, order: Order) -> Vec<Effect> {
        let (identifier, execution) = (identifier.to_owned(), format!("a/b/c/{identifier}"));
        self.step(Event::Commanded { identifier, execution, order: Ok(Box::new(order)) }).unwrap()
    }

    fn acknowledge(&mut self, identifier: &str, answer: CommandStatus) -> Vec<Effect> {
        self.step(Event::Acknowledged { identifier: identifier.to_owned(), answer }).unwrap()
    }

    /// One command from its arrival to its end, with crashes where `crash` returns true.
    fn command(&mut self, identifier: &str, order: Order, crash: &mut dyn FnMut() -> bool) -> Report {
        let mut effects = self.receive(identifier, order.clone());
        if crash() {
            // The agent died before it acknowledged; the service sends the command again.
            effects = self.receive(identifier, order);
            // The two runs are compared with all their times.
            self.now -= 1;
        }
        effects.extend(self.acknowledge(identifier, CommandStatus::InProgress));
        self.run(effects, &mut *crash);
        let report = self.report(identifier).expect("a command that was carried out has a report");
        if crash() {
            assert_eq!(self.report(identifier).as_ref(), Some(&report), "a crash loses no report");
        }
        let effects = self.step(Event::Reported { identifier: identifier.to_owned() }).unwrap();
        self.run(effects, never);
        report
    }

    fn report(&self, identifier: &str) -> Option<Report> {
        match &self.state.service.command(identifier)?.stage {
            CommandStage::Ended(report) => Some(report.clone()),
            _ => None,
        }
    }

    fn group_of(&self, group: &str) -> &state::Group {
        &self.state.groups[&format!("id-of-{group}")]
    }
}

fn is_success(report: &Report) -> bool {
    report.status == CommandStatus::Succeeded
}

#[test]
fn a_deployment_is_carried_out_command_by_command() {
    let mut host = Host::default();
    for deployment in [1, 2] {
        for name in IN_PLACE {
            let report = host.command(&format!("{deployment}-{name}"), order("prod", deployment, name, 2), &mut never);
            assert!(is_success(&report), "{name}: {report:?}");
        }
        assert_eq!(host.state.all_active().count(), 0, "AfterAllowTraffic is the last event");
        let group = host.group_of("prod");
        assert_eq!(group.installed.as_ref().unwrap().deployment, id(deployment));
        assert_eq!(group.last_good.as_ref().unwrap().deployment, id(deployment));
    }
    assert_eq!(host.ran.len(), 2 * 2 * 9, "each of the nine hook events ran its two scripts, twice");
    let outcomes: Vec<_> = host.group_of("prod").finished.iter().map(|d| (d.id.clone(), d.outcome)).collect();
    assert_eq!(
        outcomes,
        [(id(1), Some(Outcome::Succeeded)), (id(2), Some(Outcome::Succeeded))],
        "taken up, not doubled"
    );
}

#[test]
fn a_failed_event_is_reported_once_and_ends_the_deployment_without_a_rollback() {
    let mut host = Host { fail_at: Some(LifecycleEvent::AfterInstall), ..Host::default() };
    for name in ["DownloadBundle", "Install"] {
        assert!(is_success(&host.command(name, order("prod", 1, name, 1), &mut never)));
    }
    let report = host.command("AfterInstall", order("prod", 1, "AfterInstall", 2), &mut never);
    assert!(report.payload.contains("\"error_code\":4"), "{}", report.payload);
    let group = host.group_of("prod");
    assert!(group.active.is_none());
    assert_eq!(group.finished.last().unwrap().outcome, Some(Outcome::Failed));
    assert_eq!(group.finished.len(), 1, "the service rolls back, not the agent");
}

#[test]
fn a_script_that_ends_with_194_has_failed_as_under_the_codedeploy_agent() {
    let mut host = Host::default();
    for name in ["DownloadBundle", "Install"] {
        assert!(is_success(&host.command(name, order("prod", 1, name, 1), &mut never)));
    }
    host.receive("after", order("prod", 1, "AfterInstall", 2));
    let effects = host.acknowledge("after", CommandStatus::InProgress);
    let result = Box::new(WorkResult::Hook(hook_result(HookOutcome::Exited { code: 194 })));
    let effects = host.step(Event::Finished { effect: effects[0].number, result }).unwrap();
    assert!(effects.iter().all(|effect| effect.work != Work::Reboot), "{effects:?}");
    let report = host.report("after").unwrap();
    assert!(!is_success(&report) && report.payload.contains("failed with exit code 194"), "{report:?}");
}

#[test]
fn a_bundle_that_cannot_be_deployed_does_not_stop_the_application() {
    let mut host = Host { fail_at: Some(LifecycleEvent::DownloadBundle), ..Host::default() };
    let report = host.command("stop", order("prod", 1, "ApplicationStop", 1), &mut never);
    assert!(is_success(&report) && report.payload.contains("left out"), "{report:?}");
    assert!(host.ran.is_empty());
    assert!(!is_success(&host.command("download", order("prod", 1, "DownloadBundle", 0), &mut never)));
}

#[test]
fn a_command_that_comes_again_is_not_carried_out_again_and_its_report_is_sent_again() {
    let mut host = Host::default();
    let download = || order("prod", 1, "DownloadBundle", 0);
    let effects = host.receive("c", download());
    assert!(effects.is_empty(), "nothing begins before the service knows");
    let effects = host.acknowledge("c", CommandStatus::InProgress);
    assert_eq!(effects.len(), 1);
    assert!(host.receive("c", download()).is_empty() && host.acknowledge("c", CommandStatus::InProgress).is_empty());
    host.run(effects, never);
    let report = host.report("c").unwrap();
    host.step(Event::Reported { identifier: "c".to_owned() }).unwrap();
    assert_eq!(host.report("c"), None);
    assert!(host.receive("c", download()).is_empty());
    assert_eq!(host.report("c"), Some(report));
}

#[test]
fn what_the_service_answers_to_the_acknowledgement_decides() {
    use CommandStatus::{Failed, InProgress, Pending, Succeeded};
    let cases = [
        ("AfterInstall", 0, InProgress, Some("Succeeded: \"")),
        ("AfterInstall", 0, Succeeded, None),
        ("AfterInstall", 0, Failed, Some("Succeeded: CompletedNoopCommand")),
        ("AfterInstall", 1, Succeeded, None),
        ("AfterInstall", 1, Failed, None),
        ("UpdateDeploymentAgent", 0, Pending, Some("Unsupported command UpdateDeploymentAgent")),
    ];
    for (name, scripts, answer, words) in cases {
        let mut host = Host::default();
        host.receive("c", order("prod", 1, name, scripts));
        assert!(host.acknowledge("c", answer).is_empty());
        match (host.report("c"), words) {
            (Some(report), Some(words)) => assert!(report.payload.contains(words), "{name} {answer:?}: {report:?}"),
            (None, None) => {
                assert!(matches!(host.state.service.command("c").unwrap().stage, CommandStage::Reported(_)))
            }
            (found, _) => panic!("{name} {answer:?}: {found:?}"),
        }
    }
}

#[test]
fn a_specification_that_cannot_be_used_fails_its_command() {
    let mut host = Host::default();
    let order = Err(Report::failed("the signature does not verify"));
    let (identifier, execution) = ("c".to_owned(), "a/b/c/d".to_owned());
    host.step(Event::Commanded { identifier, execution, order }).unwrap();
    let report = host.report("c").unwrap();
    assert_eq!(report.status, CommandStatus::Failed);
    assert!(report.payload.contains("\"error_code\":5") && report.payload.contains("does not verify"));
}

#[test]
fn the_next_deployments_first_command_ends_the_one_that_the_service_left() {
    let mut host = Host::default();
    host.command("1", order("prod", 1, "DownloadBundle", 0), &mut never);
    assert!(host.group_of("prod").active.as_ref().unwrap().waits_for_command() && !host.state.is_busy());
    host.command("2", order("prod", 2, "DownloadBundle", 0), &mut never);
    let group = host.group_of("prod");
    assert_eq!(group.active.as_ref().unwrap().id, id(2));
    assert_eq!(group.finished.last().unwrap().id, id(1));
}

#[test]
fn an_event_that_is_asked_for_again_runs_again_in_directories_of_its_own() {
    let mut host = Host::default();
    for identifier in ["1", "2"] {
        host.receive(identifier, order("prod", 1, "AfterInstall", 1));
        let effects = host.acknowledge(identifier, CommandStatus::InProgress);
        let attempts: Vec<_> = effects.iter().map(|e| e.work.clone()).collect();
        let attempt = identifier.parse().unwrap();
        assert_eq!(attempts, [Work::RunHook { event: LifecycleEvent::AfterInstall, index: 0, attempt }]);
        host.run(effects, never);
        assert!(is_success(&host.report(identifier).unwrap()));
    }
}

#[test]
fn only_a_few_reported_commands_are_remembered() {
    let mut host = Host::default();
    for number in 0..50 {
        host.command(&number.to_string(), order("prod", 1, "AfterInstall", 0), &mut never);
    }
    assert_eq!(host.state.service.commands.len(), REMEMBERED_COMMANDS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 64))]

    /// Crashes at any point change neither the work, nor the reports, nor the end; no script runs twice.
    #[test]
    fn crashes_do_not_change_what_is_reported(
        failures in prop::collection::vec(any_failure(), 1..4),
        crashes in prop::collection::vec(any::<bool>(), 400),
    ) {
        let play = |crashes: &mut dyn FnMut() -> bool| {
            let mut host = Host::default();
            let mut reports = Vec::new();
            for (number, fail_at) in (1..).zip(&failures) {
                host.fail_at = *fail_at;
                for name in IN_PLACE {
                    let report = host.command(&format!("{number}-{name}"), order("prod", number, name, 2), crashes);
                    let failed = !is_success(&report);
                    reports.push(report);
                    if failed {
                        break;
                    }
                }
            }
            (host, reports)
        };
        let (plain, plain_reports) = play(&mut never);
        let mut plan = crashes.into_iter();
        let (crashed, crashed_reports) = play(&mut || plan.next().unwrap_or(false));
        prop_assert_eq!(&plain.ran, &crashed.ran);
        prop_assert_eq!(plain_reports, crashed_reports);
        prop_assert_eq!(&plain.state.groups, &crashed.state.groups);
    }

    /// Commands of several groups, and of several deployments of one group, interleave in any order: each gets exactly
    /// one report, a group has one deployment at a time (the state has no place for two) and Installs never overlap.
    #[test]
    fn groups_are_commanded_side_by_side(order_of in prop::collection::vec((0..3_usize, 0..3_u64, 0..11_usize, any::<bool>()), 1..40)) {
        let mut host = Host::default();
        let names = ["a", "b", "c"];
        let mut waiting: Vec<Effect> = Vec::new();
        for (number, (group, deployment, name, finish_one)) in order_of.iter().enumerate() {
            let identifier = number.to_string();
            host.receive(&identifier, order(names[*group], 10 * (*group as u64) + deployment, IN_PLACE[*name], 1));
            waiting.extend(host.acknowledge(&identifier, CommandStatus::InProgress));
            if *finish_one && !waiting.is_empty() {
                let effect = waiting.remove(number % waiting.len());
                let result = Box::new(host.perform(&effect));
                waiting.extend(host.step(Event::Finished { effect: effect.number, result }).unwrap());
            }
        }
        host.run(waiting, never);
        prop_assert!(!host.state.is_busy());
        for number in 0..order_of.len() {
            prop_assert!(host.report(&number.to_string()).is_some(), "command {} has no report", number);
        }
    }
}

/// The service does not wait for a file system that may never come: the command fails, and so does every later one
/// until the Install is undone.
#[test]
fn a_command_whose_install_cannot_be_undone_yet_is_reported_as_failed() {
    let mut host = Host::default();
    let group = order("prod", 1, "Install", 0).request.key;
    let ended = |host: &Host, identifier: &str| match &host.state.service.command(identifier).unwrap().stage {
        CommandStage::Ended(report) => Some(report.clone()),
        _ => None,
    };
    host.command("1", order("prod", 1, "DownloadBundle", 0), &mut never);
    host.stuck = Some(group);
    host.receive("2", order("prod", 1, "Install", 0));
    let install = host.acknowledge("2", CommandStatus::InProgress).remove(0);
    let result = Box::new(host.perform(&install));
    host.step(Event::Finished { effect: install.number, result }).unwrap();
    let report = ended(&host, "2").expect("the command has ended");
    assert!(report.status == CommandStatus::Failed && report.payload.contains("/srv is not mounted"), "{report:?}");
    host.receive("3", order("prod", 2, "ApplicationStop", 1));
    host.acknowledge("3", CommandStatus::InProgress);
    assert_eq!(ended(&host, "3").expect("so has the next").status, CommandStatus::Failed);
    host.stuck = None;
    host.fail_at = Some(LifecycleEvent::Install);
    let effects = host.crash();
    host.run(effects, never);
    host.fail_at = None;
    assert!(host.state.groups.values().all(|group| group.active.is_none()), "{:?}", host.state.groups);
    host.receive("4", order("prod", 3, "DownloadBundle", 0));
    assert_eq!(host.acknowledge("4", CommandStatus::InProgress).len(), 1, "the next deployment begins");
}
