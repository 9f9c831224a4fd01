//! The journal of a booted host: units, priorities and matches; the cursor after `kill -9`, restarts, rotation and
//! vacuum.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::eventually;
use crate::support::logs_service::{ACCESS_KEY, LogsService, SECRET_KEY};
use crate::support::machine::{Layout, Machine};

const PATIENCE: Duration = Duration::from_secs(90);

const CONFIG: &str = "\
instance_id: i-1
aws: {region: us-east-1, ca_bundle: /root/certificate.pem}
logs:
  agent: false
  redact: ['card=(?<secret>\\d+)']
  journal:
    - {units: [web.service], log_group_name: /web, log_stream_name: web}
    - {priority: err, log_group_name: /errors, log_stream_name: errors}
    - {matches: [SYSLOG_IDENTIFIER=payments], log_group_name: /payments, log_stream_name: payments}
";

/// The messages of a stream from the first one that contains a word.
fn said(service: &LogsService, stream: &str, word: &str) -> Vec<String> {
    let from = |message: &String| message.find(word).map(|at| message[at..].to_owned());
    service.messages(stream).iter().filter_map(from).collect()
}

fn wait_for(host: &Machine, service: &LogsService, stream: &str, word: &str, wanted: &[String]) {
    eventually(&format!("{wanted:?} in {stream}"), PATIENCE, || {
        let found = said(service, stream, word);
        let journal = || host.sh("journalctl --no-pager --unit=hostler --lines=15");
        if found == wanted { Ok(()) } else { Err(format!("{found:?}\n{}", journal())) }
    });
}

#[test]
fn the_journal_is_shipped_once_and_in_order_through_kills_rotation_and_vacuum() {
    let program = Path::new(env!("CARGO_BIN_EXE_hostler"));
    let Some(host) = Machine::named("logs", Layout::Unified).bind_read_only(program, "/usr/bin/hostler").boot() else {
        return;
    };
    let service = LogsService::start_on(host.listen());
    let files = tempfile::tempdir().unwrap();
    for (name, text) in [("config.yaml", CONFIG), ("certificate.pem", service.certificate())] {
        fs::write(files.path().join(name), text).unwrap();
    }
    host.copy_in(&files.path().join("config.yaml"), "/etc/hostler/config.yaml");
    host.copy_in(&files.path().join("certificate.pem"), "/root/certificate.pem");
    let start = format!(
        "systemd-run --quiet --collect --unit=hostler --property=Restart=always --property=RestartSec=100ms \
         --setenv=AWS_ENDPOINT_URL={} --setenv=AWS_ACCESS_KEY_ID={ACCESS_KEY} --setenv=AWS_SECRET_ACCESS_KEY={SECRET_KEY} \
         --setenv=AWS_EC2_METADATA_DISABLED=true /usr/bin/hostler run",
        service.url()
    );
    host.sh(&start);

    host.sh("systemd-run --quiet --collect --wait --unit=web --description=web sh -c 'echo web says hello; echo web says card=4711'");
    host.sh("systemd-run --quiet --collect --wait --unit=other sh -c 'echo web says nothing of this'");
    wait_for(&host, &service, "web", "web says", &["web says hello".into(), "web says card=[redacted]".into()]);

    let mut paid = Vec::new();
    let mut pay = |how: &str| {
        let text = format!("paid {}", paid.len() + 1);
        host.sh(&how.replace("TEXT", &text));
        paid.push(text);
        paid.clone()
    };
    pay("logger --tag payments --priority user.info TEXT");
    pay("logger --tag payments --priority user.err TEXT");
    let all = pay("echo TEXT | systemd-cat --identifier=payments --priority=warning");
    wait_for(&host, &service, "payments", "paid", &all);
    wait_for(&host, &service, "errors", "paid", &["paid 2".into()]);

    for round in 0..3 {
        pay("logger --tag payments TEXT");
        host.sh("systemctl kill --signal=KILL hostler");
        pay("logger --tag payments TEXT");
        // A vacuum keeps open files, but not the archived ones, which hold the cursor.
        host.sh("journalctl --quiet --sync; journalctl --quiet --rotate");
        let all = pay("logger --tag payments TEXT");
        wait_for(&host, &service, "payments", "paid", &all);
        host.sh("journalctl --quiet --rotate; journalctl --quiet --vacuum-time=1us");
        let all = pay("logger --tag payments TEXT");
        wait_for(&host, &service, "payments", "paid", &all);
        assert!(service.repeats("payments") <= round + 1, "{} repeats", service.repeats("payments"));
    }

    // At the next start the cursor's record is gone: the agent continues by its time, and does not start over.
    host.sh("systemctl stop hostler; journalctl --quiet --rotate; journalctl --quiet --vacuum-time=1us");
    let all = pay("logger --tag payments TEXT");
    host.sh(&start);
    wait_for(&host, &service, "payments", "paid", &all);
    assert_eq!(said(&service, "errors", "paid"), ["paid 2"]);
    host.sh("hostler stop");
    service.assert_nothing_wrong();
}
