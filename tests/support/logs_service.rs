//! CloudWatch Logs on loopback: it accepts and refuses the same requests as the service, verifies every signature, and
//! fails on request.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::http_server::{Reply, Request, Server};
use super::sigv4;

/// Its callers' access key.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// Their secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The fault of one PutLogEvents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// ThrottlingException; nothing is accepted.
    Throttled,
    /// 503 with a page that is not JSON; nothing is accepted.
    Unavailable,
    /// The connection is closed before anything is accepted.
    Gone,
    /// The batch is accepted, and the answer is lost.
    AnswerLost,
    /// The batch is accepted, and the answer is slow.
    Slow(Duration),
    /// ExpiredTokenException.
    Expired,
    /// AccessDeniedException.
    Denied,
}

/// An accepted batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub group: String,
    pub stream: String,
    pub events: Vec<(i64, String)>,
}

/// A log group as created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub retention: Option<u64>,
    pub class: Option<String>,
    pub tags: BTreeMap<String, String>,
    streams: BTreeSet<String>,
}

type Plan = dyn FnMut(&str, usize) -> Fault + Send;

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    batches: Vec<Batch>,
    answers_lost: usize,
    puts: usize,
    /// A client's errors; a real service would have refused the request.
    wrong: Vec<String>,
    plan: Option<Box<Plan>>,
}

/// The service, which ends with this value.
pub struct LogsService {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl LogsService {
    /// A working service without log groups.
    pub fn start() -> Self {
        Self::start_on(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    /// The same on a listener, which may be in another network.
    pub fn start_on(listener: TcpListener) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let of_handler = Arc::clone(&state);
        let server = Server::start_tls_on(listener, move |request| {
            let reply = answer(&mut of_handler.lock().unwrap(), &request);
            async move { reply }
        });
        Self { server, state }
    }

    /// Calls `plan` before each PutLogEvents, with the group's name and the number of earlier requests.
    pub fn fails(&self, plan: impl FnMut(&str, usize) -> Fault + Send + 'static) {
        self.state().plan = Some(Box::new(plan));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn certificate(&self) -> &str {
        self.server.certificate()
    }

    /// Accepted batches, in order.
    pub fn batches(&self) -> Vec<Batch> {
        self.state().batches.clone()
    }

    /// Messages of a stream, in the order of acceptance; a batch that was repeated unchanged counts once.
    pub fn messages(&self, stream: &str) -> Vec<String> {
        let batches = self.batches();
        let of_stream: Vec<&Batch> = batches.iter().filter(|batch| batch.stream == stream).collect();
        let mut messages = Vec::new();
        for (at, batch) in of_stream.iter().enumerate() {
            if at == 0 || of_stream[at - 1] != *batch {
                messages.extend(batch.events.iter().map(|(_, message)| message.clone()));
            }
        }
        messages
    }

    /// Unchanged repeats of batches of a stream.
    pub fn repeats(&self, stream: &str) -> usize {
        let batches = self.batches();
        let of_stream: Vec<&Batch> = batches.iter().filter(|batch| batch.stream == stream).collect();
        of_stream.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }

    /// Answers lost after the batch was accepted.
    pub fn answers_lost(&self) -> usize {
        self.state().answers_lost
    }

    /// PutLogEvents requests, with any result.
    pub fn puts(&self) -> usize {
        self.state().puts
    }

    /// A log group; `None` when it was not created.
    pub fn group(&self, name: &str) -> Option<Group> {
        self.state().groups.get(name).cloned()
    }

    /// Checks that clients made no error that the service refuses.
    ///
    /// # Panics
    /// When there was one.
    pub fn assert_nothing_wrong(&self) {
        assert!(self.state().wrong.is_empty(), "{:?}", self.state().wrong);
    }
}

fn error(status: u16, name: &str, message: &str) -> Reply {
    Reply::new(status, json!({ "__type": name, "message": message }).to_string())
        .header("Content-Type", "application/x-amz-json-1.1")
}

fn good(body: &Value) -> Reply {
    Reply::new(200, body.to_string()).header("Content-Type", "application/x-amz-json-1.1")
}

fn answer(state: &mut State, request: &Request) -> Reply {
    let signed = sigv4::verify(request, SECRET_KEY, jiff::Timestamp::now());
    if signed.as_ref().ok().is_none_or(|signed| signed.service != "logs" || signed.access_key != ACCESS_KEY) {
        state.wrong.push(format!("signature: {signed:?}"));
        return error(403, "InvalidSignatureException", "the signature does not match");
    }
    let mut body = request.body.to_vec();
    if request.header("content-encoding") == "gzip" {
        body.clear();
        flate2::read::MultiGzDecoder::new(&request.body[..]).read_to_end(&mut body).unwrap();
    }
    let input: Value = match serde_json::from_slice(&body) {
        Ok(input) => input,
        Err(problem) => {
            state.wrong.push(format!("JSON: {problem}"));
            return error(400, "SerializationException", "not JSON");
        }
    };
    let name = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
    let (group, stream) = (name("logGroupName"), name("logStreamName"));
    match request.header("x-amz-target").trim_start_matches("Logs_20140328.") {
        "PutLogEvents" => put(state, &group, &stream, &input),
        "CreateLogGroup" => {
            let made = Group {
                class: input["logGroupClass"].as_str().map(str::to_owned),
                tags: serde_json::from_value(input["tags"].clone()).unwrap_or_default(),
                ..Group::default()
            };
            if state.groups.contains_key(&group) {
                return error(400, "ResourceAlreadyExistsException", "it exists");
            }
            state.groups.insert(group, made);
            good(&json!({}))
        }
        "CreateLogStream" => {
            let Some(group) = state.groups.get_mut(&group) else {
                return error(400, "ResourceNotFoundException", "no such group");
            };
            if !group.streams.insert(stream) {
                return error(400, "ResourceAlreadyExistsException", "it exists");
            }
            Reply::new(200, "")
        }
        "PutRetentionPolicy" => match state.groups.get_mut(&group) {
            None => error(400, "ResourceNotFoundException", "no such group"),
            Some(group) => {
                group.retention = input["retentionInDays"].as_u64();
                Reply::new(200, "")
            }
        },
        other => {
            state.wrong.push(format!("operation {other:?}"));
            error(400, "UnknownOperationException", "what?")
        }
    }
}

fn put(state: &mut State, group: &str, stream: &str, input: &Value) -> Reply {
    let number = state.puts;
    state.puts += 1;
    let fault = state.plan.as_mut().map_or(Fault::None, |plan| plan(group, number));
    match fault {
        Fault::Throttled => return error(400, "ThrottlingException", "Rate exceeded"),
        Fault::Unavailable => return Reply::new(503, "<html>busy</html>"),
        Fault::Gone => return Reply::new(200, "").lost(),
        Fault::Expired => return error(400, "ExpiredTokenException", "The security token has expired"),
        Fault::Denied => return error(400, "AccessDeniedException", "not authorized to perform logs:PutLogEvents"),
        Fault::None | Fault::AnswerLost | Fault::Slow(_) => {}
    }
    if !state.groups.get(group).is_some_and(|group| group.streams.contains(stream)) {
        return error(400, "ResourceNotFoundException", "The specified log stream does not exist.");
    }
    let (events, rejected) = match checked(input) {
        Ok(checked) => checked,
        Err(problem) => {
            state.wrong.push(problem.clone());
            return error(400, "InvalidParameterException", &problem);
        }
    };
    state.batches.push(Batch { group: group.to_owned(), stream: stream.to_owned(), events });
    let reply = good(&rejected);
    match fault {
        Fault::AnswerLost => {
            state.answers_lost += 1;
            reply.lost()
        }
        Fault::Slow(delay) => reply.after(delay),
        _ => reply,
    }
}

/// Every rule of the API reference's page on PutLogEvents.
fn checked(input: &Value) -> Result<(Vec<(i64, String)>, Value), String> {
    let list = input["logEvents"].as_array().ok_or("there are no logEvents")?;
    if list.is_empty() || list.len() > 10_000 {
        return Err(format!("{} events", list.len()));
    }
    let mut events = Vec::new();
    for event in list {
        let at = event["timestamp"].as_i64().ok_or("an event has no timestamp")?;
        let message = event["message"].as_str().ok_or("an event has no message")?;
        if message.is_empty() {
            return Err("an empty message".to_owned());
        }
        events.push((at, message.to_owned()));
    }
    let bytes: usize = events.iter().map(|(_, message)| message.len() + 26).sum();
    if bytes > 1_048_576 {
        return Err(format!("{bytes} bytes"));
    }
    if events.windows(2).any(|pair| pair[0].0 > pair[1].0) {
        return Err("not in the order of time".to_owned());
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let (oldest, newest) = (now - 14 * 86_400_000, now + 2 * 3_600_000);
    let too_old = events.iter().take_while(|(at, _)| *at < oldest).count();
    let too_new = events.iter().rev().take_while(|(at, _)| *at > newest).count();
    let valid = &events[too_old..events.len() - too_new];
    if let (Some(first), Some(last)) = (valid.first(), valid.last())
        && last.0 - first.0 >= 86_400_000
    {
        return Err("more than 24 hours".to_owned());
    }
    let mut info = serde_json::Map::new();
    if too_old > 0 {
        info.insert("tooOldLogEventEndIndex".to_owned(), too_old.into());
    }
    if too_new > 0 {
        info.insert("tooNewLogEventStartIndex".to_owned(), (events.len() - too_new).into());
    }
    let kept = valid.to_vec();
    let answer = if info.is_empty() { json!({}) } else { json!({ "rejectedLogEventsInfo": info }) };
    Ok((kept, answer))
}
