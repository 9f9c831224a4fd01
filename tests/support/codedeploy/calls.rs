//! The service's operations: the effect of each call on the commands, and its answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::http_server::{Reply, Request};
use super::super::sigv4;
use super::{Caller, DELIVERED_AGAIN, Fault, HostCommand, Moment, REGION, Report, Shared, State, objects};

/// Answers a request for an operation or for an object of the bucket.
pub async fn answer(shared: Arc<Shared>, request: Request) -> Reply {
    match request.header("x-amz-target").split_once('.') {
        Some((prefix, operation)) => {
            if prefix != "CodeDeployCommandService_v20141006" {
                shared.state.lock().unwrap().problems.push(format!("target {prefix}"));
            }
            let operation = operation.to_owned();
            call(shared, operation, request).await
        }
        None if ["/repos/", "/archive/"].iter().any(|top| request.path().starts_with(top)) => {
            objects::github(&shared, &request)
        }
        None => objects::object(&shared, &request),
    }
}

/// Checks that the host signed the request for this service, with its session's token if it has one.
pub fn check_signature(caller: &Caller, request: &Request, service: &str) -> Result<(), String> {
    let signed = sigv4::verify(request, &caller.secret_key, Timestamp::now())?;
    let found = (signed.access_key.as_str(), signed.region.as_str(), signed.service.as_str());
    let token = request.header("x-amz-security-token");
    if found != (&caller.access_key, REGION, service) || token != caller.session_token.as_deref().unwrap_or_default() {
        return Err(format!("{signed:?}, token {token:?}"));
    }
    Ok(())
}

fn check(caller: &Caller, request: &Request) -> Result<(), String> {
    check_signature(caller, request, "codedeploy-commands")?;
    let token = if caller.session_token.is_some() { "x-amz-security-token;" } else { "" };
    let names =
        format!("content-type;host;x-amz-codedeploy-agent-version;x-amz-content-sha256;x-amz-date;{token}x-amz-target");
    if !request.header("authorization").contains(&format!("SignedHeaders={names},")) {
        return Err(format!("signed headers: {}", request.header("authorization")));
    }
    if request.header("content-type") != "application/x-amz-json-1.1" || request.path() != "/" {
        return Err(format!("{} {}", request.header("content-type"), request.path()));
    }
    Ok(())
}

async fn call(shared: Arc<Shared>, operation: String, request: Request) -> Reply {
    let (fault, on_call) = {
        let mut state = shared.state.lock().unwrap();
        if let Err(problem) = check(&state.caller, &request) {
            state.problems.push(format!("{operation}: {problem}"));
            return error(403, "SignatureDoesNotMatch");
        }
        state.agent_version = request.header("x-amz-codedeploy-agent-version").to_owned();
        state.calls.push(operation.clone());
        (state.faults.get_mut(&operation).and_then(VecDeque::pop_front), state.on_call.clone())
    };
    if let Some(on_call) = &on_call {
        on_call(&operation, Moment::Before);
    }
    if let Some(Fault::Error(status, name)) = fault {
        return error(status, name);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let reply = match operation.as_str() {
        "PollHostCommand" => poll(&shared, &body).await,
        "GetDeploymentSpecification" => give_specification(&shared, &body),
        "PutHostCommandAcknowledgement" => acknowledge(&shared, &body),
        "PutHostCommandComplete" => complete(&shared, &body),
        _ => error(400, "UnknownOperationException"),
    };
    if let Some(on_call) = on_call {
        on_call(&operation, Moment::After);
    }
    match fault {
        Some(Fault::AnswerLost) => reply.lost(),
        Some(Fault::Late(delay)) => reply.after(delay),
        _ => reply,
    }
}

fn error(status: u16, name: &str) -> Reply {
    Reply::new(status, json!({"__type": name, "message": "as the test says"}).to_string())
}

fn ok(body: &Value) -> Reply {
    Reply::new(200, body.to_string()).header("Content-Type", "application/x-amz-json-1.1")
}

async fn poll(shared: &Shared, body: &Value) -> Reply {
    let (host, began) = (shared.state.lock().unwrap().caller.host.clone(), Instant::now());
    if body != &json!({"HostIdentifier": host}) {
        shared.state.lock().unwrap().problems.push(format!("{body} is polled for and not {host}"));
        return error(400, "ClientException");
    }
    loop {
        let more = shared.more.notified();
        let (found, until) = {
            let mut state = shared.state.lock().unwrap();
            let (once, until) = (state.delivers_once, began + state.hold);
            let due = |c: &&mut HostCommand| {
                let again = |at: Instant| !once && at.elapsed() > DELIVERED_AGAIN;
                !c.acknowledged && !c.completed && c.delivered.is_none_or(again)
            };
            let found = state.commands.iter_mut().find(due).map(|command| {
                command.delivered = Some(Instant::now());
                json!({"HostCommand": {
                    "HostCommandIdentifier": command.identifier,
                    "HostIdentifier": host,
                    "DeploymentExecutionId": command.execution,
                    "CommandName": command.name,
                    "Nonce": 1,
                }})
            });
            (found, until)
        };
        if let Some(found) = found {
            return ok(&found);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ok(&json!({"HostCommand": null}));
        }
        // Commands to be delivered again become due with time alone.
        let _ = tokio::time::timeout(left.min(DELIVERED_AGAIN / 3), more).await;
    }
}

fn acknowledge(shared: &Shared, body: &Value) -> Reply {
    let mut state = shared.state.lock().unwrap();
    let identifier = body["HostCommandIdentifier"].as_str().unwrap().to_owned();
    assert_eq!(body["Diagnostics"]["Format"], "JSON");
    let payload: Value = serde_json::from_str(body["Diagnostics"]["Payload"].as_str().unwrap()).unwrap();
    let noop = payload["IsCommandNoop"].as_bool().unwrap();
    state.acknowledgements.push((identifier.clone(), noop));
    let answer = state.acknowledgement_answer;
    let Some(command) = state.commands.iter_mut().find(|c| c.identifier == identifier) else {
        return error(400, "ClientException");
    };
    command.acknowledged = true;
    let status = match (answer, command.completed) {
        (Some(answer), _) => answer,
        // For the service, a command with nothing to do has succeeded.
        (None, true) => "Succeeded",
        (None, false) if noop => "Succeeded",
        (None, false) => "InProgress",
    };
    if status == "Succeeded" && !command.completed {
        command.completed = true;
        let execution = command.execution.clone();
        let report =
            Report { command: identifier.clone(), status: "Succeeded".to_owned(), diagnostics: payload, bytes: 0 };
        state.reports.push(report);
        follow(&mut state, &execution, &identifier);
    }
    drop(state);
    shared.more.notify_waiters();
    ok(&json!({"CommandStatus": status}))
}

fn complete(shared: &Shared, body: &Value) -> Reply {
    let mut state = shared.state.lock().unwrap();
    let identifier = body["HostCommandIdentifier"].as_str().unwrap().to_owned();
    assert_eq!(body["Diagnostics"]["Format"], "JSON");
    let payload = body["Diagnostics"]["Payload"].as_str().unwrap();
    if payload.len() > 8192 {
        return error(400, "ClientException");
    }
    let status = body["CommandStatus"].as_str().unwrap().to_owned();
    let diagnostics = serde_json::from_str(payload).unwrap();
    state.reports.push(Report {
        command: identifier.clone(),
        status: status.clone(),
        diagnostics,
        bytes: payload.len(),
    });
    let command = state.commands.iter_mut().find(|c| c.identifier == identifier && !c.completed);
    if let Some(command) = command {
        command.completed = true;
        let execution = command.execution.clone();
        if status == "Succeeded" {
            follow(&mut state, &execution, &identifier);
        }
    }
    drop(state);
    shared.more.notify_waiters();
    Reply::new(200, "")
}

fn follow(state: &mut State, execution: &str, identifier: &str) {
    let id = identifier.split('/').next().unwrap().to_owned();
    next_command(state, execution, &id);
}

fn give_specification(shared: &Shared, body: &Value) -> Reply {
    let state = shared.state.lock().unwrap();
    let Some(envelope) = state.envelopes.get(body["DeploymentExecutionId"].as_str().unwrap()) else {
        return error(400, "ClientException");
    };
    let payload = Some(envelope).filter(|_| !state.nothing_in_envelopes);
    ok(&json!({
        "DeploymentSystem": "CodeDeploy",
        "DeploymentSpecification": {
            "GenericEnvelope": {"Format": "PKCS7/JSON", "Payload": payload},
            "VariantId": null, "VariantEnvelope": null,
        },
    }))
}

/// Queues the deployment's next event, if there is one, for the next poll.
pub fn next_command(state: &mut State, execution: &str, id: &str) {
    let Some(name) = state.to_come.get_mut(execution).and_then(VecDeque::pop_front) else { return };
    let again = state.commands.iter().filter(|c| c.identifier.starts_with(&format!("{id}/{name}"))).count();
    let identifier = if again == 0 { format!("{id}/{name}") } else { format!("{id}/{name}#{again}") };
    let execution = execution.to_owned();
    state.commands.push(HostCommand {
        identifier,
        execution,
        name,
        delivered: None,
        acknowledged: false,
        completed: false,
    });
}
