//! Values of secrets are removed from hooks' output and from shipped logs.

use std::fs;
use std::process::Command;

use super::{Agent, arrive};
use crate::support::eventually;
use crate::support::host::{Bundle, PATIENCE};
use crate::support::logs_service::LogsService;

const LOGS: &str = "  agent: false\n  redact_values_from: [LOGS/secret/password]\n  \
                    files: [{file: LOGS/app.log, log_group_name: /app, log_stream_name: app}]\n";

#[test]
fn values_of_secrets_are_taken_out_also_when_they_change() {
    let service = LogsService::start();
    let agent = Agent::new(&service, LOGS);
    let password = agent.log("secret").join("password");
    fs::create_dir(agent.log("secret")).unwrap();
    fs::write(&password, "hunter2-secret\n").unwrap();
    let daemon = agent.start();
    agent.append("app.log", "the password is hunter2-secret.\n");
    arrive(&service, "app", &["the password is [redacted]."]);
    fs::write(&password, "correct-horse\n").unwrap();
    agent.append("app.log", "it was hunter2-secret and is correct-horse\n");
    let shipped = ["the password is [redacted].", "it was [redacted] and is [redacted]"];
    arrive(&service, "app", &shipped);

    let script = format!("echo \"got $(cat {})\"", password.display());
    let bundle = Bundle::new(&agent.host, "v1").app().hook("AfterInstall", &script).write();
    agent.host.release(&bundle, &[]);
    agent.host.status_when("it is deployed", |status| status["condition"] == "good");
    agent.host.ok(&["logs"]).saying(&["got [redacted]"]);
    let found = Command::new("grep").args(["-rlF", "correct-horse"]).arg(agent.host.state()).output().unwrap();
    assert_eq!(found.status.code(), Some(1), "it is nowhere in the state: {found:?}");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    service.assert_nothing_wrong();
}

#[test]
fn nothing_is_shipped_while_it_is_not_known_what_is_secret() {
    let service = LogsService::start();
    let agent = Agent::new(&service, LOGS);
    let password = agent.log("secret").join("password");
    let daemon = agent.start();
    agent.append("app.log", "no file, no secret\n");
    arrive(&service, "app", &["no file, no secret"]);
    // A directory cannot be read as a file, not even by root.
    fs::create_dir_all(&password).unwrap();
    agent.append("app.log", "this waits\n");
    eventually("it is said why", PATIENCE, || {
        let lag = agent.lag();
        let error = lag["sources"][0]["last_error"].as_str().unwrap_or_default();
        if error.contains("cannot read the secrets in") { Ok(()) } else { Err(lag.to_string()) }
    });
    assert_eq!(service.messages("app"), ["no file, no secret"]);
    fs::remove_dir(&password).unwrap();
    arrive(&service, "app", &["no file, no secret", "this waits"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);

    fs::create_dir(&password).unwrap();
    agent.host.run(&["run"]).with_code(2).saying(&["redact_values_from", "cannot read the secrets in"]);
}
