//! Logs to CloudWatch Logs by the built program: against a service that enforces every rule and fails on request, and
//! against moto.

mod configuration;
mod journal;
mod losses;
mod metrics;
mod moto;
mod names;
mod rotations;
mod secrets;
mod swapped;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::host::{Bundle, Host, Mount, PATIENCE, Running, root_or_skip};

use crate::support::eventually;
use crate::support::logs_service::{ACCESS_KEY, Fault, LogsService, SECRET_KEY};

/// A host with a daemon that ships to a service.
pub struct Agent {
    pub host: Host,
    endpoint: String,
    certificate: Option<PathBuf>,
}

impl Agent {
    /// `logs` is the text below `logs:`, indented by two spaces; `LOGS` in it stands for the directory of the logs.
    fn new(service: &LogsService, logs: &str) -> Self {
        Self::on(Host::new(), service, logs)
    }

    pub fn on(host: Host, service: &LogsService, logs: &str) -> Self {
        let certificate = host.path("certificate.pem");
        fs::write(&certificate, service.certificate()).unwrap();
        Self::at(host, &service.url(), Some(certificate), logs)
    }

    fn at(host: Host, endpoint: &str, certificate: Option<PathBuf>, logs: &str) -> Self {
        fs::create_dir_all(host.path("logs")).unwrap();
        let agent = Self { host, endpoint: endpoint.to_owned(), certificate };
        agent.configure(logs);
        agent
    }

    fn configure(&self, logs: &str) {
        let logs = logs.replace("LOGS", self.log("").to_str().unwrap().trim_end_matches('/'));
        self.host.configure(&format!("instance_id: i-1\naws: {{region: us-east-1}}\nlogs:\n{logs}"));
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.host.path("logs").join(name)
    }

    pub fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.log(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn start(&self) -> Running {
        let store = self.host.store();
        let mut command = self.host.command(&["run", "--channel", store.to_str().unwrap(), "--poll", "1s"]);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_EC2_METADATA_DISABLED", "true");
        if let Some(certificate) = &self.certificate {
            command.env("AWS_CA_BUNDLE", certificate);
        }
        let running = self.host.start_command(command);
        eventually("the daemon listens on its control socket", PATIENCE, || {
            let status = self.host.run(&["status", "--json"]);
            let pid = format!("\"pid\":{},", running.pid());
            if status.out.contains(&pid) { Ok(()) } else { Err(format!("{status:?}\n{}", running.said())) }
        });
        running
    }

    pub fn lag(&self) -> serde_json::Value {
        self.host.ok(&["logs", "--lag", "--json"]).json()
    }
}

/// One file to the stream `app`.
const APP: &str = "  agent: false\n  files: [{file: LOGS/app.log, log_group_name: /app, log_stream_name: app}]\n";

fn arrive(service: &LogsService, stream: &str, wanted: &[&str]) {
    eventually(&format!("the lines of {stream}"), PATIENCE, || {
        let messages = service.messages(stream);
        if messages == wanted { Ok(()) } else { Err(format!("{messages:?}")) }
    });
}

#[test]
fn lines_arrive_in_a_group_that_is_made_as_it_was_wished() {
    let service = LogsService::start();
    let agent = Agent::new(
        &service,
        "  retention_in_days: 30\n  tags: {team: shop}\n  log_group_class: INFREQUENT_ACCESS\n  files:\n    - {file: LOGS/*.log, \
         exclude: debug.log, log_group_name: /app, log_stream_name: '{instance_id}/{file_name}'}\n",
    );
    agent.append("a.log", "one\ntwo\n");
    agent.append("debug.log", "not this\n");
    let daemon = agent.start();
    arrive(&service, "i-1/a.log", &["one", "two"]);
    agent.append("b.log", "later\n");
    arrive(&service, "i-1/b.log", &["later"]);
    let tags: std::collections::BTreeMap<String, String> = [("team".to_owned(), "shop".to_owned())].into();
    eventually("the retention is set", PATIENCE, || {
        let group = service.group("/app").unwrap_or_default();
        let class = group.class.as_deref() == Some("INFREQUENT_ACCESS");
        if group.retention == Some(30) && class && group.tags == tags { Ok(()) } else { Err(format!("{group:?}")) }
    });
    assert!(service.messages("i-1/debug.log").is_empty());
    // hostler's own records, with their times.
    eventually("the agent's own records", PATIENCE, || {
        let messages = service.messages("i-1").join("\n");
        if messages.contains("info logs are shipped") { Ok(()) } else { Err(messages) }
    });
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn a_deployments_output_is_shipped_by_itself_and_secrets_are_taken_out() {
    let service = LogsService::start();
    let agent = Agent::new(&service, "  agent: false\n  redact: ['token=(?<secret>\\w+)']\n");
    let daemon = agent.start();
    let bundle = Bundle::new(&agent.host, "v1").app().hook("AfterInstall", "echo hello token=abc123 end").write();
    agent.host.release(&bundle, &[]);
    let status = agent.host.status_when("it is deployed", |status| status["condition"] == "good");
    let stream = format!("i-1/{}", status["installed"]["deployment"].as_str().unwrap());
    eventually("the hook's output", PATIENCE, || {
        let messages = service.messages(&stream).join("\n");
        if messages.contains("[stdout]hello token=[redacted] end") { Ok(()) } else { Err(messages) }
    });
    assert_eq!(service.batches()[0].group, "/hostler/shop/web");
    // The value was removed where the line was first written.
    let on_disk = agent.host.ok(&["logs"]).out;
    assert!(on_disk.contains("token=[redacted] end") && !on_disk.contains("abc123"), "{on_disk}");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn what_was_deployed_without_a_daemon_is_shipped_by_the_next_one() {
    let service = LogsService::start();
    let agent = Agent::new(&service, "  agent: false\n");
    let bundle = Bundle::new(&agent.host, "v1").app().hook("AfterInstall", "echo nobody ships this yet").write();
    agent.host.deploy(&bundle, &[]).with_code(0);
    assert_eq!(service.puts(), 0);
    let stream = format!("i-1/{}", agent.host.status()["installed"]["deployment"].as_str().unwrap());
    let daemon = agent.start();
    eventually("the hook's output", PATIENCE, || {
        let messages = service.messages(&stream).join("\n");
        if messages.contains("[stdout]nobody ships this yet") { Ok(()) } else { Err(messages) }
    });
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn what_an_older_agent_shipped_is_not_shipped_again_when_its_directory_gets_another_name() {
    let service = LogsService::start();
    let agent = Agent::new(&service, "  agent: false\n");
    // The directory of an older agent, which is used unchanged until the next start.
    let named = agent.host.state().join("deployment-root/shop~web");
    fs::create_dir_all(&named).unwrap();
    let deploy = |version: &str| {
        let says = format!("echo {version} says this once");
        agent.host.release(&Bundle::new(&agent.host, version).app().hook("AfterInstall", &says).write(), &[]);
        let shipped = |status: &serde_json::Value| {
            let stream = format!("i-1/{}", status["installed"]["deployment"].as_str().unwrap_or_default());
            service.messages(&stream).iter().any(|line| line.contains(&format!("[stdout]{version} says this once")))
        };
        let status = agent.host.status_when("its output is shipped", |status| shipped(status));
        format!("i-1/{}", status["installed"]["deployment"].as_str().unwrap())
    };
    let first = agent.start();
    let stream = deploy("v1");
    agent.host.ok(&["stop"]);
    first.end().with_code(0);
    let before = service.messages(&stream);
    assert!(named.is_dir() && !named.is_symlink());

    let second = agent.start();
    assert!(named.is_symlink(), "it has its name of today");
    deploy("v2");
    agent.host.ok(&["stop"]);
    second.end().with_code(0);
    assert_eq!(service.messages(&stream), before);
    service.assert_nothing_wrong();
}

#[test]
fn what_is_destroyed_before_it_is_delivered_is_counted_logged_and_shown() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    service.fails(|_, _| Fault::Gone);
    let daemon = agent.start();
    agent.append("app.log", "gone for ever\n");
    eventually("it waits", PATIENCE, || {
        let lag = agent.lag();
        if lag["sources"][0]["lag_bytes"] == 14 { Ok(()) } else { Err(lag.to_string()) }
    });
    fs::write(agent.log("app.log"), "").unwrap();
    eventually("it is counted", PATIENCE, || {
        let shown = agent.host.ok(&["status", "--metrics"]).out;
        if shown.contains("\nhostler_logs_lost_bytes_total 14\n") { Ok(()) } else { Err(shown) }
    });
    agent.host.ok(&["status"]).saying(&["logs were lost: 14 bytes lost"]);
    assert_eq!(agent.host.ok(&["status", "--json"]).json()["daemon"]["logs"]["totals"]["lost_bytes"], 14);
    daemon.says(" are lost: ");
    service.fails(|_, _| Fault::None);
    agent.append("app.log", "after\n");
    arrive(&service, "app", &["after"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}

/// The positions have their space from the beginning: neither a full disk nor a crash on it repeats more than one
/// batch.
#[test]
fn a_full_disk_under_the_positions_costs_nothing() {
    if !root_or_skip("a small file system") {
        return;
    }
    let service = LogsService::start();
    let host = Host::new();
    let Some(disk) = Mount::tmpfs(&host.state(), 12 << 20) else { return };
    let agent = Agent::on(host, &service, APP);
    let mut daemon = agent.start();
    agent.append("app.log", "line 0\n");
    arrive(&service, "app", &["line 0"]);
    disk.leave_free(0);
    let mut lines = vec!["line 0".to_owned()];
    for round in 1..=3 {
        lines.push(format!("line {round}"));
        agent.append("app.log", &format!("line {round}\n"));
        if round == 2 {
            daemon.kill();
            fs::rename(agent.log("app.log"), agent.log("app.log.1")).unwrap();
            daemon = agent.start();
        }
        arrive(&service, "app", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert!(service.repeats("app") <= 1, "{}", service.repeats("app"));
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn stopping_ships_what_is_there_and_the_next_start_goes_on() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let daemon = agent.start();
    agent.append("app.log", "one\n");
    arrive(&service, "app", &["one"]);
    agent.append("app.log", "just before the end\n");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    assert_eq!(service.messages("app"), ["one", "just before the end"]);
    agent.append("app.log", "while it was down\n");
    let daemon = agent.start();
    arrive(&service, "app", &["one", "just before the end", "while it was down"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    assert_eq!(service.repeats("app"), 0);
}

#[test]
fn stopping_in_an_outage_ends_within_its_bound_and_loses_nothing() {
    let service = LogsService::start();
    let agent = Agent::new(&service, &format!("  flush: 1s\n{APP}"));
    service.fails(|_, _| Fault::Unavailable);
    let daemon = agent.start();
    agent.append("app.log", "one\n");
    eventually("a request", PATIENCE, || if service.puts() > 0 { Ok(()) } else { Err("none".to_owned()) });
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0).saying(&["not all logs were shipped in time"]);
    service.fails(|_, _| Fault::None);
    let daemon = agent.start();
    arrive(&service, "app", &["one"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn the_lag_is_shown_with_what_is_wrong() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let of_service = std::sync::Arc::clone(&fails);
    service.fails(
        move |_, _| {
            if of_service.load(std::sync::atomic::Ordering::SeqCst) { Fault::Denied } else { Fault::None }
        },
    );
    agent.host.run(&["logs", "--lag"]).with_code(3).saying(&["no daemon runs"]);
    let daemon = agent.start();
    agent.append("app.log", "one\n");
    let report = eventually("the error is shown", PATIENCE, || {
        let report = agent.lag();
        if report["sources"][0]["last_error"].is_string() { Ok(report) } else { Err(report.to_string()) }
    });
    let source = &report["sources"][0];
    assert_eq!((&source["position"], &source["lag_bytes"]), (&"0".into(), &4.into()), "{report}");
    assert!(source["last_error"].as_str().unwrap().contains("logs:PutLogEvents"), "{report}");
    let text = agent.host.ok(&["logs", "--lag"]).out;
    assert!(text.contains("app.log") && text.contains("4 bytes") && text.contains("last error"), "{text}");
    daemon.says("logs are not shipped");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);

    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    let daemon = agent.start();
    eventually("everything is acknowledged", PATIENCE, || {
        let report = agent.lag();
        let source = &report["sources"][0];
        if source["position"] == "4" && source["lag_bytes"] == 0 && source["last_error"].is_null() {
            Ok(())
        } else {
            Err(report.to_string())
        }
    });
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn a_stream_that_fails_does_not_hold_the_others() {
    let service = LogsService::start();
    let agent = Agent::new(
        &service,
        "  agent: false\n  files:\n    - {file: LOGS/denied*.log, log_group_name: /denied, log_stream_name: '{file_name}'}\n    \
         - {file: LOGS/good.log, log_group_name: /good, log_stream_name: good}\n",
    );
    service.fails(|group, _| if group == "/denied" { Fault::Denied } else { Fault::None });
    for number in 0..20 {
        agent.append(&format!("denied{number}.log"), "never\n");
    }
    let daemon = agent.start();
    agent.append("good.log", "one\n");
    arrive(&service, "good", &["one"]);
    agent.append("good.log", "two\n");
    arrive(&service, "good", &["one", "two"]);
    daemon.kill();
}

#[test]
fn expired_credentials_and_slow_answers_cost_time_only() {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    service.fails(|_, number| match number % 3 {
        0 => Fault::Expired,
        1 => Fault::Slow(Duration::from_millis(300)),
        _ => Fault::None,
    });
    let daemon = agent.start();
    agent.append("app.log", "one\n");
    arrive(&service, "app", &["one"]);
    agent.append("app.log", "two\n");
    arrive(&service, "app", &["one", "two"]);
    assert_eq!(service.repeats("app"), 0);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn times_several_lines_and_old_events() {
    let service = LogsService::start();
    let agent = Agent::new(
        &service,
        "  agent: false\n  files:\n    - {file: LOGS/app.log, log_group_name: /app, log_stream_name: app, time_zone: UTC, \
         datetime_format: '%Y-%m-%d %H:%M:%S', multi_line_start_pattern: '{datetime_format}'}\n",
    );
    let now = jiff::Timestamp::now();
    let line = |seconds: i64, text: &str| {
        let at = now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
        format!("{} {text}\n", at.strftime("%Y-%m-%d %H:%M:%S"))
    };
    let day = 86_400;
    agent.append("app.log", &line(20 * day, "too old"));
    agent.append("app.log", &line(3 * day, "three days\n  at a\n  at b"));
    agent.append("app.log", &line(day, "a day"));
    agent.append("app.log", &line(day + 9, "out of order"));
    agent.append("app.log", &line(-30 * day, "from the future"));
    let daemon = agent.start();
    let stamp = |seconds: i64| line(seconds, "").trim_end().to_owned();
    arrive(
        &service,
        "app",
        &[
            &format!("{} three days\n  at a\n  at b", stamp(3 * day)),
            &format!("{} out of order", stamp(day + 9)),
            &format!("{} a day", stamp(day)),
            &format!("{} from the future", stamp(-30 * day)),
        ],
    );
    assert_eq!(agent.lag()["totals"]["too_old_events"], 1);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn the_old_agents_configuration_moves_in() {
    let service = LogsService::start();
    let agent = Agent::new(&service, "  agent: false\n  awslogs_config: [LOGS/awslogs.conf]\n");
    let file = agent.log("app.log");
    let text = format!(
        "[general]\nstate_file = /var/awslogs/state/agent-state\n\n[app]\nfile = {}\nlog_group_name = /old\n\
         log_stream_name = {{instance_id}}\ninitial_position = start_of_file\nencoding = latin_1\n",
        file.display()
    );
    agent.append("awslogs.conf", &text);
    fs::write(&file, b"caf\xe9\n  more\nnext\n").unwrap();
    let daemon = agent.start();
    arrive(&service, "i-1", &["caf\u{e9}\n  more", "next"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    agent.append("awslogs.conf", "colour = red\n");
    agent.host.run(&["run"]).with_code(2).saying(&["awslogs.conf", "the key colour is not known"]);
}

#[test]
fn a_thousand_files_with_few_descriptors() {
    let service = LogsService::start();
    let agent = Agent::new(
        &service,
        "  agent: false\n  files: [{file: LOGS/*.log, log_group_name: /app, log_stream_name: app}]\n",
    );
    for number in 0..1000 {
        agent.append(&format!("{number:04}.log"), &format!("line of {number:04}\n"));
    }
    let daemon = agent.start();
    eventually("a thousand lines", PATIENCE, || {
        let count = service.messages("app").len();
        if count == 1000 { Ok(()) } else { Err(count.to_string()) }
    });
    for number in 0..1000 {
        agent.append(&format!("{number:04}.log"), "again\n");
    }
    eventually("two thousand lines", PATIENCE, || {
        let count = service.messages("app").len();
        if count == 2000 { Ok(()) } else { Err(count.to_string()) }
    });
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(descriptors < 700, "{descriptors} descriptors");
    assert_eq!(service.repeats("app"), 0);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}
