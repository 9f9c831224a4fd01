//! A CodeDeploy command service, an S3 bucket and a GitHub behind one port of loopback, from specs/codedeploy.md: it
//! verifies signatures, signs envelopes with a certificate of its own, holds polls back, sends commands again that were
//! not acknowledged, and breaks its answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http_server::{Reply, Request, Server};
use super::{eventually, sigv4};

/// The host's name.
pub const HOST: &str = "arn:aws:iam::123456789012:user/host-1";
/// The region that requests must be signed for.
pub const REGION: &str = "eu-west-1";
const ACCESS_KEY: &str = "AKIATEST";
const SECRET_KEY: &str = "secret/of+the-tests";
/// After so long a command that was delivered and not acknowledged is delivered again.
const DELIVERED_AGAIN: Duration = Duration::from_millis(300);

/// Everything that a deployment in place behind a load balancer has.
pub const IN_PLACE: [&str; 11] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

/// How one call is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this error and status, and nothing happens.
    Error(u16, &'static str),
    /// What was asked for happens, and the answer is lost.
    AnswerLost,
    /// What was asked for happens, and the answer is late.
    Late(Duration),
}

#[derive(Debug, Clone)]
struct HostCommand {
    identifier: String,
    execution: String,
    name: String,
    delivered: Option<Instant>,
    acknowledged: bool,
    completed: bool,
}

/// A report as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The command.
    pub command: String,
    /// `Succeeded` or `Failed`.
    pub status: String,
    /// The diagnostics, read.
    pub diagnostics: Value,
    /// Bytes of the diagnostics.
    pub bytes: usize,
}

type OnCall = dyn Fn(&str) + Send + Sync;

#[derive(Default)]
struct State {
    commands: Vec<HostCommand>,
    /// Events that follow once the one before has succeeded, by execution.
    to_come: BTreeMap<String, VecDeque<String>>,
    specifications: BTreeMap<String, Value>,
    objects: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    calls: Vec<String>,
    acknowledgements: Vec<(String, bool)>,
    reports: Vec<Report>,
    problems: Vec<String>,
    github: Vec<(String, String)>,
    hold: Duration,
    alter: bool,
    acknowledgement_answer: Option<&'static str>,
    /// Called with each call's name before it is answered.
    on_call: Option<Arc<OnCall>>,
}

struct Shared {
    state: Mutex<State>,
    more: tokio::sync::Notify,
    signer: Mutex<tempfile::TempDir>,
}

/// The service; it ends when this is dropped.
pub struct CommandService {
    server: Server,
    github: Server,
    shared: Arc<Shared>,
}

fn signer() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .current_dir(directory.path())
        .args(["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=signer", "-days", "2"])
        .args(["-keyout", "key", "-out", "crt"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
}

fn signed(signer: &Path, content: &str) -> String {
    std::fs::write(signer.join("content"), content).unwrap();
    let made = Command::new("openssl")
        .current_dir(signer)
        .args(["smime", "-sign", "-nodetach", "-binary", "-outform", "PEM", "-signer", "crt", "-inkey", "key"])
        .args(["-in", "content"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

impl CommandService {
    /// A service that holds polls back for 20 seconds.
    pub fn start() -> Self {
        let state = State { hold: Duration::from_secs(20), ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            more: tokio::sync::Notify::new(),
            signer: Mutex::new(signer()),
        });
        let for_server = Arc::clone(&shared);
        let server = Server::start_tls(move |request| answer(Arc::clone(&for_server), request));
        let for_github = Arc::clone(&shared);
        let github = Server::start(move |request| {
            let reply = github(&for_github, &request);
            async move { reply }
        });
        Self { server, github, shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Writes the CodeDeploy agent's configuration and hostler's into a root prefix, so that they lead here.
    pub fn configure(&self, root: &Path) {
        let write = |name: &str, text: String| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let url = self.server.url();
        write("ca.pem", self.server.certificate().to_owned());
        write(
            "etc/codedeploy-agent/conf/codedeployagent.yml",
            format!(
                "---\n:log_aws_wire: false\n:root_dir: '/opt/codedeploy-agent/deployment-root'\n:wait_between_runs: 1\n\
                 :deploy_control_endpoint: {url}\n:s3_endpoint_override: {url}\n:max_revisions: 5\n"
            ),
        );
        write(
            "etc/codedeploy-agent/conf/codedeploy.onpremises.yml",
            format!(
                "---\niam_user_arn: {HOST}\nregion: {REGION}\naws_access_key_id: {ACCESS_KEY}\n\
                 aws_secret_access_key: {SECRET_KEY}\n"
            ),
        );
        self.write_config(root, "");
    }

    /// hostler's configuration; `more` stands below `codedeploy`.
    pub fn write_config(&self, root: &Path, more: &str) {
        let url = self.github.url();
        let text = format!(
            "instance_id: i-test\naws: {{ca_bundle: {}}}\ncodedeploy:\n  enabled: true\n  github_api: {url}\n{more}",
            root.join("ca.pem").display()
        );
        std::fs::create_dir_all(root.join("etc/hostler")).unwrap();
        std::fs::write(root.join("etc/hostler/config.yaml"), text).unwrap();
    }

    /// An object in the bucket `bundles`; its ETag.
    pub fn put_object(&self, key: &str, content: Vec<u8>) -> String {
        let etag = etag(&content);
        self.state().objects.insert(format!("/bundles/{key}"), content);
        etag
    }

    /// Begins a deployment whose events follow each other as they succeed.
    pub fn deploy(&self, specification: &Value, events: &[&str]) {
        let mut state = self.state();
        let id = specification["DeploymentId"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let execution = format!("arn/of/{id}/{}", state.specifications.len());
        state.specifications.insert(execution.clone(), specification.clone());
        state.to_come.insert(execution.clone(), events.iter().map(|e| (*e).to_owned()).collect());
        next_command(&mut state, &execution, &id);
        drop(state);
        self.shared.more.notify_waiters();
    }

    /// Breaks the next call of this operation.
    pub fn break_next(&self, operation: &str, fault: Fault) {
        self.state().faults.entry(operation.to_owned()).or_default().push_back(fault);
    }

    /// From now on specifications are altered after they were signed.
    pub fn alter_envelopes(&self) {
        self.state().alter = true;
    }

    /// From now on another certificate signs.
    pub fn change_signer(&self) {
        *self.shared.signer.lock().unwrap() = signer();
    }

    /// From now on acknowledgements are answered with this status.
    pub fn answer_acknowledgements(&self, status: &'static str) {
        self.state().acknowledgement_answer = Some(status);
    }

    /// From now on polls are held back for so long.
    pub fn hold_polls(&self, hold: Duration) {
        self.state().hold = hold;
    }

    /// Calls this before each call is answered, with the operation's name.
    pub fn on_call(&self, callback: impl Fn(&str) + Send + Sync + 'static) {
        self.state().on_call = Some(Arc::new(callback));
    }

    /// All reports so far.
    pub fn reports(&self) -> Vec<Report> {
        self.state().reports.clone()
    }

    /// All acknowledgements so far: the command, and whether there is nothing to do.
    pub fn acknowledgements(&self) -> Vec<(String, bool)> {
        self.state().acknowledgements.clone()
    }

    /// Names of all calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Paths that GitHub was asked for, with the authorization.
    pub fn github(&self) -> Vec<(String, String)> {
        self.state().github.clone()
    }

    /// Waits until this command of this deployment was reported, and returns its first report.
    pub fn report_of(&self, deployment: &str, event: &str) -> Report {
        let command = format!("{deployment}/{event}");
        eventually(&format!("the report of {command}"), Duration::from_secs(60), || {
            let state = self.state();
            assert!(state.problems.is_empty(), "{:?}", state.problems);
            let found =
                state.reports.iter().find(|r| r.command == command || r.command.starts_with(&format!("{command}#")));
            found.cloned().ok_or(format!("calls {:?}, reports {:?}", state.calls, state.reports))
        })
    }

    /// The whole deployment: the report of its last event, which must have succeeded.
    pub fn deploy_to_the_end(&self, specification: &Value, events: &[&str]) {
        self.deploy(specification, events);
        let id = specification["DeploymentId"].as_str().unwrap();
        for event in events {
            let report = self.report_of(id, event);
            assert_eq!(report.status, "Succeeded", "{event}: {report:?}");
        }
    }
}

fn next_command(state: &mut State, execution: &str, id: &str) {
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

/// A specification of a bundle in the bucket.
pub fn specification(deployment: &str, group: &str, revision: Value) -> Value {
    json!({
        "DeploymentId": deployment,
        "DeploymentGroupId": format!("0000-{group}"),
        "DeploymentGroupName": group,
        "ApplicationName": "shop",
        "DeploymentCreator": "user",
        "Revision": revision,
    })
}

/// A revision in the bucket.
pub fn s3(key: &str, bundle_type: &str) -> Value {
    json!({"RevisionType": "S3", "S3Revision": {"Bucket": "bundles", "Key": key, "BundleType": bundle_type}})
}

async fn answer(shared: Arc<Shared>, request: Request) -> Reply {
    match request.header("x-amz-target").split_once('.') {
        Some((prefix, operation)) => {
            if prefix != "CodeDeployCommandService_v20141006" {
                shared.state.lock().unwrap().problems.push(format!("target {prefix}"));
            }
            let operation = operation.to_owned();
            call(shared, operation, request).await
        }
        None => object(&shared, &request),
    }
}

fn check(request: &Request) -> Result<(), String> {
    let signed = sigv4::verify(request, SECRET_KEY, Timestamp::now())?;
    if (signed.access_key.as_str(), signed.region.as_str(), signed.service.as_str())
        != (ACCESS_KEY, REGION, "codedeploy-commands")
    {
        return Err(format!("{signed:?}"));
    }
    let names = "content-type;host;x-amz-codedeploy-agent-version;x-amz-content-sha256;x-amz-date;x-amz-target";
    if !request.header("authorization").contains(&format!("SignedHeaders={names},")) {
        return Err(format!("signed headers: {}", request.header("authorization")));
    }
    if request.header("content-type") != "application/x-amz-json-1.1" || request.path() != "/" {
        return Err(format!("{} {}", request.header("content-type"), request.path()));
    }
    Ok(())
}

async fn call(shared: Arc<Shared>, operation: String, request: Request) -> Reply {
    if let Err(problem) = check(&request) {
        shared.state.lock().unwrap().problems.push(format!("{operation}: {problem}"));
        return error(403, "SignatureDoesNotMatch");
    }
    let (fault, on_call) = {
        let mut state = shared.state.lock().unwrap();
        state.calls.push(operation.clone());
        (state.faults.get_mut(&operation).and_then(VecDeque::pop_front), state.on_call.clone())
    };
    if let Some(on_call) = on_call {
        on_call(&operation);
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
    assert_eq!(body, &json!({"HostIdentifier": HOST}));
    let until = Instant::now() + shared.state.lock().unwrap().hold;
    loop {
        let more = shared.more.notified();
        let found = {
            let mut state = shared.state.lock().unwrap();
            let due = |c: &&mut HostCommand| {
                !c.acknowledged && !c.completed && c.delivered.is_none_or(|at| at.elapsed() > DELIVERED_AGAIN)
            };
            state.commands.iter_mut().find(due).map(|command| {
                command.delivered = Some(Instant::now());
                json!({"HostCommand": {
                    "HostCommandIdentifier": command.identifier,
                    "HostIdentifier": HOST,
                    "DeploymentExecutionId": command.execution,
                    "CommandName": command.name,
                    "Nonce": 1,
                }})
            })
        };
        if let Some(found) = found {
            return ok(&found);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ok(&json!({"HostCommand": null}));
        }
        // Commands that are to be delivered again become due by time alone.
        let _ = tokio::time::timeout(left.min(DELIVERED_AGAIN / 3), more).await;
    }
}

fn give_specification(shared: &Shared, body: &Value) -> Reply {
    let state = shared.state.lock().unwrap();
    let Some(specification) = state.specifications.get(body["DeploymentExecutionId"].as_str().unwrap()) else {
        return error(400, "ClientException");
    };
    let content = specification.to_string();
    let mut payload = signed(shared.signer.lock().unwrap().path(), &content);
    if state.alter {
        let base64: String = payload.lines().filter(|line| !line.starts_with('-')).collect();
        let mut bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
        let at = bytes.windows(4).position(|w| w == b"shop").unwrap();
        bytes[at..at + 4].copy_from_slice(b"evil");
        payload = data_encoding::BASE64.encode(&bytes);
    }
    ok(&json!({
        "DeploymentSystem": "CodeDeploy",
        "DeploymentSpecification": {
            "GenericEnvelope": {"Format": "PKCS7/JSON", "Payload": payload},
            "VariantId": null, "VariantEnvelope": null,
        },
    }))
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
        // What there is nothing to do for has succeeded as far as the service is concerned.
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

fn etag(content: &[u8]) -> String {
    hostler_core::ids::Sha256Digest::of(content).hex()[..32].to_owned()
}

/// HEAD and GET of the bucket's objects, with one range.
fn object(shared: &Shared, request: &Request) -> Reply {
    let state = shared.state.lock().unwrap();
    let Some(content) = state.objects.get(request.path()) else {
        return Reply::new(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>");
    };
    let tag = format!("\"{}\"", etag(content));
    if !request.header("if-match").is_empty() && request.header("if-match") != tag {
        return Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
    }
    if request.method == "HEAD" {
        return Reply::new(200, "").header("ETag", tag).claims_length(content.len() as u64);
    }
    let range = request.header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((from, to)) = range else { return Reply::new(200, content.clone()).header("ETag", tag) };
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(usize::MAX).min(content.len() - 1);
    Reply::new(206, content[from..=to].to_vec())
        .header("ETag", tag)
        .header("Content-Range", format!("bytes {from}-{to}/{}", content.len()))
}

/// As GitHub does: the API checks the token and sends on to another host, which must not see it.
fn github(shared: &Shared, request: &Request) -> Reply {
    let path = request.path();
    let mut state = shared.state.lock().unwrap();
    state.github.push((path.to_owned(), request.header("authorization").to_owned()));
    if path.starts_with("/repos/private/") && request.header("authorization") != "token s3cret-token" {
        return Reply::new(404, "{}");
    }
    if let Some(rest) = path.strip_prefix("/repos/") {
        return Reply::new(302, "").header("Location", format!("/archive/{rest}"));
    }
    match state.objects.get("/bundles/github") {
        Some(content) => Reply::new(200, content.clone()),
        None => Reply::new(404, "{}"),
    }
}
