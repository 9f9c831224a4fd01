//! The part of CloudFormation that accepts signals, as its pages describe it
//! (docs/protocols/auto-scaling.md#cloudformation-signals).

use std::sync::{Arc, Mutex};

use super::auto_scaling::{SECRET, form};
use super::http_server::{Reply, Server};
use super::sigv4;

const NAMESPACE: &str = "http://cloudformation.amazonaws.com/doc/2010-05-15/";

/// A stack, `web`, whose one resource, `Fleet`, waits for signals; and the handle of a wait condition.
#[derive(Debug, Default)]
pub struct Stack {
    /// The resource accepts no more signals.
    pub complete: bool,
    /// Number of requests that are still throttled.
    pub throttled: u32,
    /// Number of requests that are still denied, by the role or by the handle's URL.
    pub denied: u32,
    /// Number of answers that are still lost.
    pub lost_answers: u32,
    /// The signals, in order: unique id and status.
    pub signals: Vec<(String, String)>,
    /// The documents sent to the handle.
    pub conditions: Vec<serde_json::Value>,
    /// Errors that a client of CloudFormation must not make.
    pub wrong: Vec<String>,
}

/// The service in this region.
pub fn start(region: &'static str) -> (Server, Arc<Mutex<Stack>>) {
    let stack = Arc::new(Mutex::new(Stack::default()));
    let shared = Arc::clone(&stack);
    let server = Server::start(move |request| {
        let mut stack = shared.lock().unwrap();
        let reply = if request.method == "PUT" {
            let content_type = request.header("content-type");
            if !content_type.is_empty() {
                stack.wrong.push(format!("content type {content_type}"));
            }
            if stack.denied > 0 {
                stack.denied -= 1;
                return std::future::ready(Reply::new(403, "<Error><Code>AccessDenied</Code></Error>"));
            }
            stack.conditions.push(serde_json::from_slice(&request.body).unwrap());
            Reply::new(200, "")
        } else {
            match sigv4::verify(&request, SECRET, jiff::Timestamp::now()) {
                Ok(signed) if signed.service == "cloudformation" && signed.region == region => {}
                other => stack.wrong.push(format!("{other:?}")),
            }
            stack.answer(&form(&request.body))
        };
        std::future::ready(reply)
    });
    (server, stack)
}

impl Stack {
    fn answer(&mut self, fields: &std::collections::BTreeMap<String, String>) -> Reply {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let error = |status, code: &str, text: &str| {
            Reply::new(
                status,
                format!(
                    "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
                     <Message>{text}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
                ),
            )
        };
        if self.throttled > 0 {
            self.throttled -= 1;
            return error(400, "Throttling", "Rate exceeded");
        }
        if self.denied > 0 {
            self.denied -= 1;
            return error(403, "AccessDenied", "not authorized to perform: cloudformation:SignalResource");
        }
        if field("Action") != "SignalResource" || field("StackName") != "web" || field("LogicalResourceId") != "Fleet" {
            return error(400, "ValidationError", "Stack does not exist");
        }
        if self.complete {
            return error(400, "ValidationError", "Resource Fleet is in CREATE_COMPLETE state and cannot be signaled");
        }
        self.signals.push((field("UniqueId"), field("Status")));
        let taken = Reply::new(200, format!("<SignalResourceResponse xmlns=\"{NAMESPACE}\"/>"));
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return taken.lost();
        }
        taken
    }
}
