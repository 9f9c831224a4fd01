//! A CodeDeploy command service, an S3 bucket and a GitHub behind one port of loopback, from
//! docs/protocols/codedeploy.md. It verifies signatures, signs envelopes with its own certificate, holds polls open,
//! sends unacknowledged commands again, and breaks its answers on request.

mod calls;
pub mod envelope;
mod objects;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::eventually::eventually;
use super::http_server::Server;

/// The host's name.
pub const HOST: &str = "arn:aws:iam::123456789012:user/host-1";
/// The region for which requests must be signed.
pub const REGION: &str = "eu-west-1";
const ACCESS_KEY: &str = "AKIATEST";
const SECRET_KEY: &str = "secret/of+the-tests";
/// After this time, a delivered but unacknowledged command is delivered again.
const DELIVERED_AGAIN: Duration = Duration::from_millis(300);

/// The fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is refused with this error and status, and has no effect.
    Error(u16, &'static str),
    /// The call has its effect, and the answer is lost.
    AnswerLost,
    /// The call has its effect, and the answer is late.
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

/// A report as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The command.
    pub command: String,
    /// `Succeeded` or `Failed`.
    pub status: String,
    /// The diagnostics, parsed.
    pub diagnostics: Value,
    /// Bytes of the diagnostics.
    pub bytes: usize,
}

/// The moment at which a callback sees a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the call's effect.
    Before,
    /// After the effect, and before the answer leaves.
    After,
}

type OnCall = dyn Fn(&str, Moment) + Send + Sync;

/// The caller: its name and its signing keys.
#[derive(Default)]
struct Caller {
    host: String,
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

#[derive(Default)]
struct State {
    /// The host of the on-premises file that [`CommandService::configure`] writes, unless a test expects another.
    caller: Caller,
    /// The agent's version in the last call.
    agent_version: String,
    commands: Vec<HostCommand>,
    /// The events still to come after each success, by execution.
    to_come: BTreeMap<String, VecDeque<String>>,
    /// The envelopes of deployments, by execution.
    envelopes: BTreeMap<String, String>,
    /// Objects of the bucket by their path, with their ETag.
    objects: BTreeMap<String, (Bytes, String)>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    calls: Vec<String>,
    acknowledgements: Vec<(String, bool)>,
    reports: Vec<Report>,
    problems: Vec<String>,
    github: Vec<(String, String)>,
    hold: Duration,
    /// Whether a delivered but unacknowledged command is never delivered again.
    delivers_once: bool,
    alter: bool,
    /// Whether envelopes hold no payload.
    nothing_in_envelopes: bool,
    /// The digest over which specifications are signed, if not the usual one.
    digest: Option<&'static str>,
    acknowledgement_answer: Option<&'static str>,
    /// Called twice per call with the call's name.
    on_call: Option<Arc<OnCall>>,
}

struct Shared {
    state: Mutex<State>,
    more: tokio::sync::Notify,
    signer: Mutex<tempfile::TempDir>,
}

/// The service, which ends with this value.
pub struct CommandService {
    server: Server,
    github: Server,
    shared: Arc<Shared>,
}

impl CommandService {
    /// A service that holds polls open for 20 seconds.
    pub fn start() -> Self {
        let caller = Caller {
            host: HOST.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            session_token: None,
        };
        let state = State { hold: Duration::from_secs(20), caller, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            more: tokio::sync::Notify::new(),
            signer: Mutex::new(envelope::signer()),
        });
        let for_server = Arc::clone(&shared);
        let server = Server::start_tls(move |request| calls::answer(Arc::clone(&for_server), request));
        let for_github = Arc::clone(&shared);
        let github = Server::start(move |request| {
            let reply = objects::github(&for_github, &request);
            async move { reply }
        });
        Self { server, github, shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Writes the CodeDeploy agent's configuration and hostler's into a root prefix, so that both use this service.
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

    /// The same with a GitHub over TLS, whose certificate only the configuration's `ca_bundle` holds.
    pub fn write_config_with_github_over_tls(&self, root: &Path) {
        self.write_config_with(root, &self.server.url(), "");
    }

    /// Writes hostler's configuration; `more` goes below `codedeploy`.
    pub fn write_config(&self, root: &Path, more: &str) {
        self.write_config_with(root, &self.github.url(), more);
    }

    fn write_config_with(&self, root: &Path, url: &str, more: &str) {
        let text = format!(
            "instance_id: i-test\naws: {{ca_bundle: {}}}\ncodedeploy:\n  enabled: true\n  github_api: {url}\n{more}",
            root.join("ca.pem").display()
        );
        std::fs::create_dir_all(root.join("etc/hostler")).unwrap();
        std::fs::write(root.join("etc/hostler/config.yaml"), text).unwrap();
    }

    /// Puts an object into the bucket `bundles`, or with `KEY?versionId=ID` one version of it; returns its ETag.
    pub fn put_object(&self, key: &str, content: Vec<u8>) -> String {
        let etag = objects::etag(&content);
        self.state().objects.insert(format!("/bundles/{key}"), (content.into(), etag.clone()));
        etag
    }

    /// Begins a deployment; each event follows after the success of the one before.
    pub fn deploy(&self, specification: &Value, events: &[&str]) {
        let id = specification["DeploymentId"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        self.deploy_as(&id, specification, events);
    }

    /// The same, under the execution of this deployment, whatever the specification contains.
    pub fn deploy_as(&self, id: &str, specification: &Value, events: &[&str]) {
        let mut envelope = self.envelope(specification);
        let mut state = self.state();
        if state.alter {
            envelope = envelope::altered(&envelope);
        }
        let execution = format!("arn/of/{id}/{}", state.envelopes.len());
        state.envelopes.insert(execution.clone(), envelope);
        state.to_come.insert(execution.clone(), events.iter().map(|e| (*e).to_owned()).collect());
        calls::next_command(&mut state, &execution, id);
        drop(state);
        self.shared.more.notify_waiters();
    }

    fn envelope(&self, specification: &Value) -> String {
        let digest = self.state().digest.unwrap_or("sha256");
        let signer = self.shared.signer.lock().unwrap();
        envelope::signed(signer.path(), digest, &specification.to_string())
    }

    /// Continues a deployment that an earlier service began under this execution: the command of this event was
    /// acknowledged but not reported, and these events follow.
    pub fn go_on_with(&self, specification: &Value, execution: &str, event: &str, then: &[&str]) {
        let envelope = self.envelope(specification);
        let mut state = self.state();
        state.envelopes.insert(execution.to_owned(), envelope);
        state.to_come.insert(execution.to_owned(), then.iter().map(|e| (*e).to_owned()).collect());
        state.commands.push(HostCommand {
            identifier: format!("{}/{event}", specification["DeploymentId"].as_str().unwrap()),
            execution: execution.to_owned(),
            name: event.to_owned(),
            delivered: Some(Instant::now()),
            acknowledged: true,
            completed: false,
        });
    }

    /// From now on calls must come from this host, signed with these keys.
    pub fn expect_caller(&self, host: &str, access_key: &str, secret_key: &str, session_token: &str) {
        self.state().caller = Caller {
            host: host.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            session_token: Some(session_token.to_owned()),
        };
    }

    /// The agent's version in the last call.
    pub fn agent_version(&self) -> String {
        self.state().agent_version.clone()
    }

    /// Breaks the next call of this operation.
    pub fn break_next(&self, operation: &str, fault: Fault) {
        self.state().faults.entry(operation.to_owned()).or_default().push_back(fault);
    }

    /// Specifications of deployments that begin from now on are altered after they were signed.
    pub fn alter_envelopes(&self) {
        self.state().alter = true;
    }

    /// Specifications are signed over this digest from now on.
    pub fn sign_over(&self, digest: &'static str) {
        self.state().digest = Some(digest);
    }

    /// Envelopes hold no payload from now on.
    pub fn put_nothing_in_envelopes(&self) {
        self.state().nothing_in_envelopes = true;
    }

    /// Another certificate signs deployments that begin from now on.
    pub fn change_signer(&self) {
        *self.shared.signer.lock().unwrap() = envelope::signer();
    }

    /// Copies the key and the certificate of the signer into this directory, for a later service.
    pub fn keep_signer(&self, directory: &Path) {
        envelope::copy(self.shared.signer.lock().unwrap().path(), directory);
    }

    /// Signs with the key that an earlier service kept.
    pub fn sign_as(&self, directory: &Path) {
        envelope::copy(directory, self.shared.signer.lock().unwrap().path());
    }

    /// From now on answers acknowledgements with this status.
    pub fn answer_acknowledgements(&self, status: &'static str) {
        self.state().acknowledgement_answer = Some(status);
    }

    /// From now on holds polls this long, including open ones.
    pub fn hold_polls(&self, hold: Duration) {
        self.state().hold = hold;
        self.shared.more.notify_waiters();
    }

    /// From now on delivers no command twice, acknowledged or not.
    pub fn deliver_once(&self) {
        self.state().delivers_once = true;
    }

    /// Waits until this many polls have come.
    pub fn polled(&self, times: usize) {
        eventually("the service is polled", Duration::from_secs(60), || {
            let calls = self.calls();
            let polls = calls.iter().filter(|call| *call == "PollHostCommand").count();
            if polls >= times { Ok(()) } else { Err(format!("{calls:?}")) }
        });
    }

    /// Calls this at both moments of each call, with the operation's name.
    pub fn on_call(&self, callback: impl Fn(&str, Moment) + Send + Sync + 'static) {
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

    /// Paths requested from GitHub, with the authorization.
    pub fn github(&self) -> Vec<(String, String)> {
        self.state().github.clone()
    }

    /// Waits for the report of this command of this deployment, and returns the first one.
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

    /// Runs the whole deployment: the report of its last event must be a success.
    pub fn deploy_to_the_end(&self, specification: &Value, events: &[&str]) {
        self.deploy(specification, events);
        let id = specification["DeploymentId"].as_str().unwrap();
        for event in events {
            let report = self.report_of(id, event);
            assert_eq!(report.status, "Succeeded", "{event}: {report:?}");
        }
    }
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
