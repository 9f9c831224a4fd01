//! Positions in logs: a file that was rotated while nothing could be sent, and a file whose last batch may have
//! arrived.

use std::fs;

use serde_json::{Value, json};

use super::age;
use super::disk::{Boot, kept};
use crate::logs::Agent;
use crate::support::eventually;
use crate::support::host::{Host, PATIENCE};
use crate::support::logs_service::{Batch, Fault, LogsService};

const LOGS: &str = "  agent: false\n  files:\n    - {file: LOGS/app.log, log_group_name: /app, log_stream_name: app}\n    \
    - {file: LOGS/doubt.log, log_group_name: /doubt, log_stream_name: doubt}\n";

/// The batches that the old agent's service accepted; the batch in doubt is the last of its stream.
const TAKEN: &str = "taken.json";

fn as_json(batches: &[Batch]) -> Value {
    batches.iter().map(|batch| json!({"stream": batch.stream, "events": batch.events})).collect()
}

/// Makes the disk's contents with the old program.
pub fn leave(host: Host) -> Host {
    let service = LogsService::start();
    let agent = Agent::on(host, &service, LOGS);
    agent.append("app.log", "one\ntwo\n");
    agent.append("doubt.log", "first\n");
    let daemon = agent.start();
    for (stream, wanted) in [("app", &["one", "two"][..]), ("doubt", &["first"][..])] {
        eventually("the first lines arrive", PATIENCE, || {
            let found = service.messages(stream);
            if found == wanted { Ok(()) } else { Err(format!("{found:?}\n{}", daemon.said())) }
        });
    }
    service.fails(|group, _| if group == "/doubt" { Fault::AnswerLost } else { Fault::Unavailable });
    agent.append("doubt.log", "in doubt\n");
    agent.append("app.log", "three\n");
    eventually("the batch in doubt arrives", PATIENCE, || {
        if service.answers_lost() > 0 { Ok(()) } else { Err(daemon.said()) }
    });
    fs::rename(agent.log("app.log"), agent.log("app.log.1")).unwrap();
    agent.append("app.log", "four\n");
    // The file from after the rotation is known, and the lines before it wait.
    eventually("both files wait", PATIENCE, || {
        let lag = agent.lag();
        let waiting = lag["sources"].as_array().unwrap().iter().filter_map(|source| source["lag_bytes"].as_u64());
        if waiting.sum::<u64>() == "three\nfour\nin doubt\n".len() as u64 { Ok(()) } else { Err(lag.to_string()) }
    });
    daemon.kill();
    fs::write(agent.host.path(TAKEN), as_json(&service.batches()).to_string()).unwrap();
    agent.append("app.log", "five\n");
    agent.host
}

#[test]
fn lines_that_were_delivered_are_not_sent_again_and_the_others_once() {
    let Some(host) = kept("log-positions", Boot::Another) else { return };
    let (taken, moved_ms) = (fs::read_to_string(host.path(TAKEN)).unwrap(), age::moved_ms(&host));
    let taken: Value = serde_json::from_str(&taken).unwrap();
    let service = LogsService::start();
    let agent = Agent::on(host, &service, LOGS);
    let daemon = agent.start();
    agent.append("app.log", "six\n");
    agent.append("doubt.log", "after\n");
    for (stream, wanted) in [("app", &["three", "four", "five", "six"][..]), ("doubt", &["in doubt", "after"][..])] {
        eventually(&format!("the lines of {stream} arrive"), PATIENCE, || {
            let found = service.messages(stream);
            if found == wanted { Ok(()) } else { Err(format!("{found:?}\n{}", daemon.said())) }
        });
    }
    // The batch in doubt is sent unchanged, so that the service recognises it.
    let in_doubt = taken.as_array().unwrap().iter().rfind(|batch| batch["stream"] == "doubt").unwrap();
    let batches = service.batches();
    let again = batches.iter().find(|batch| batch.stream == "doubt").unwrap();
    let kept_ms = in_doubt["events"][0][0].as_i64().unwrap() + i64::try_from(moved_ms).unwrap();
    assert_eq!(again.events, [(kept_ms, "in doubt".to_owned())], "{in_doubt}");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    assert_eq!(service.messages("app"), ["three", "four", "five", "six"]);
    service.assert_nothing_wrong();
}
