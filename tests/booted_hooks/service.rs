//! The daemon as a service: the journal records that operators search for, `systemctl reload` and `status`, the
//! watchdog, and the permissions by the groups of a unit.

use std::collections::BTreeMap;
use std::time::Duration;

use hostler_core::codes::ExitCode;
use hostler_core::operator_events::OperatorEvent;

use super::{ONE_HOOK, bundle, code, ended, host, main_pid, release, settled};
use crate::support::eventually;
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{state, wait_for_another_daemon};

/// The journal's records with this message id, each with its fields.
fn records(host: &Machine, record: OperatorEvent) -> Vec<BTreeMap<String, serde_json::Value>> {
    let found = host.sh(&format!("journalctl --quiet --output=json MESSAGE_ID={} || true", record.message_id()));
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_for(host: &Machine, record: OperatorEvent) -> BTreeMap<String, serde_json::Value> {
    eventually(&format!("the record {}", record.name()), Duration::from_secs(60), || {
        records(host, record).pop().ok_or_else(|| host.sh("journalctl --no-pager --unit=hostler --lines=20"))
    })
}

#[test]
fn operators_find_what_went_wrong_by_message_id() {
    let Some(host) = host("journal", Layout::Unified) else { return };
    let good = bundle(&host, "good", &[("appspec.yml", ONE_HOOK), ("hook.sh", "echo done")]);
    release(&host, &good);
    settled(&host, 1);
    assert_eq!(OperatorEvent::ALL.iter().map(|record| records(&host, *record).len()).sum::<usize>(), 0);

    let bad = bundle(&host, "bad", &[("appspec.yml", ONE_HOOK), ("hook.sh", "exit 3")]);
    release(&host, &bad);
    let failed = wait_for(&host, OperatorEvent::DeploymentFailed);
    assert_eq!(failed["HOSTLER_EVENT"], "deployment-failed");
    assert_eq!((&failed["EVENT"], &failed["PRIORITY"]), (&"AfterInstall".into(), &"3".into()), "{failed:?}");
    assert!(failed["MESSAGE"].as_str().unwrap().contains("hook.sh: "), "{failed:?}");
    let rolled_back = wait_for(&host, OperatorEvent::RolledBack);
    assert_eq!(rolled_back["GROUP"], "app/hosts");
    assert_eq!(records(&host, OperatorEvent::NeedsOperator).len(), 0, "a rollback followed");

    host.sh(
        "cp /srv/channel/app/hosts/release.json /root/release.json; echo '{}' > /srv/channel/app/hosts/release.json",
    );
    let refused = wait_for(&host, OperatorEvent::ChannelRefused);
    assert_eq!(refused["CHANNEL"], "/srv/channel", "{refused:?}");
    host.sh("cp /root/release.json /srv/channel/app/hosts/release.json");

    let (status, said) = ended(&host, &format!("hostler deploy --no-rollback {bad}"));
    assert_eq!(status, code(ExitCode::Failed), "{said}");
    let holds = wait_for(&host, OperatorEvent::NeedsOperator);
    assert!(holds["MESSAGE"].as_str().unwrap().contains("stays as it is"), "{holds:?}");
    // Records without an id have a name too.
    let names =
        host.sh("journalctl --quiet --output=cat --output-fields=HOSTLER_EVENT HOSTLER_EVENT=event-ended | sort -u");
    assert_eq!(names, "event-ended");
}

#[test]
fn the_unit_reloads_and_is_watched_and_knows_groups() {
    let Some(host) = host("service", Layout::Unified) else { return };
    let daemon = main_pid(&host);
    host.sh("mkdir /srv/other; cp /etc/hostler/config.yaml /root/");
    host.sh("echo 'groups: [{application: app, group: other, chanel: /srv/other}]' > /etc/hostler/config.d/o.yaml || \
             { mkdir -p /etc/hostler/config.d; echo 'groups: [{application: app, group: other, chanel: /srv/other}]' > /etc/hostler/config.d/o.yaml; }");
    let (status, said) = ended(&host, "systemctl reload hostler || { r=$?; systemctl is-active hostler; exit $r; }");
    assert!(status != Some(0) && said.contains("active"), "{said}");
    let said = host.sh("journalctl --no-pager --unit=hostler");
    assert!(said.contains("o.yaml:1") && said.contains("did you mean `channel`"), "{said}");
    let refused = |number: usize| {
        eventually("the records of refused configurations", Duration::from_secs(60), || {
            let found = records(&host, OperatorEvent::ConfigurationRefused).len();
            if found == number { Ok(()) } else { Err(format!("{found} records")) }
        });
    };
    refused(1);
    host.sh("kill -HUP $(systemctl show --value --property=MainPID hostler)");
    refused(2);
    // A start of a daemon whose output is the journal.
    host.sh("systemd-run --quiet --wait --collect hostler run --state-dir /root/other-state || true");
    refused(3);
    host.sh("sed -i s/chanel/channel/ /etc/hostler/config.d/o.yaml");
    let (status, said) = ended(&host, "systemctl reload hostler || journalctl --no-pager --unit=hostler --lines=15");
    assert!(status == Some(0) && said.is_empty(), "{said}");
    let shown = host.sh("hostler status --json");
    assert!(shown.contains("\"channel\":\"/srv/other\""), "{shown}");
    assert_eq!(main_pid(&host), daemon);
    let status = host.sh("systemctl status hostler --no-pager");
    assert!(status.contains("Status: \"nothing was deployed on this host\""), "{status}");

    // A unit with its own user: every user reads, the service group acts.
    let unit = "systemd-run --quiet --wait --pipe --collect --property=DynamicUser=yes";
    let (status, said) = ended(&host, &format!("{unit} hostler status --metrics"));
    assert!(status == Some(0) && said.ends_with("# EOF\n"), "{status:?}: {said}");
    let resume = "hostler resume --application app --group other";
    let (_, said) = ended(&host, &format!("{unit} {resume}"));
    assert!(said.contains("may read only"), "{said}");
    let (_, said) = ended(&host, &format!("{unit} --property=SupplementaryGroups=hostler {resume}"));
    assert!(said.contains("has followed no channel yet"), "{said}");

    // systemd replaces a daemon whose loop has stopped.
    host.sh("printf '[Service]\\nWatchdogSec=2s\\n' >> /etc/systemd/system/hostler.service.d/test.conf; \
             systemctl daemon-reload; systemctl restart hostler");
    let watched = main_pid(&host);
    eventually("the watchdog is fed", Duration::from_secs(30), || {
        let fed = host.sh("systemctl show --value --property=WatchdogTimestampMonotonic hostler");
        let started = host.sh("systemctl show --value --property=ExecMainStartTimestampMonotonic hostler");
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        // Notified after the first of its intervals, so not only by READY.
        if number(&fed) > number(&started) + 2_500_000 { Ok(()) } else { Err(format!("{fed} {started}")) }
    });
    assert_eq!(main_pid(&host), watched);
    host.sh(&format!("kill -STOP {watched}"));
    wait_for_another_daemon(&host, &watched);
    let said = host.sh("journalctl --no-pager --unit=hostler");
    assert!(said.contains("Watchdog timeout"), "{said}");
    eventually("the service runs again", Duration::from_secs(30), || match state(&host, "hostler") {
        state if state == "active" => Ok(()),
        state => Err(state),
    });
}
