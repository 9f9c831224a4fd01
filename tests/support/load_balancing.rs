//! Elastic Load Balancing (version 2) and EC2's application status checks, for one instance, beside its Auto Scaling
//! group: target groups with the states of their targets, and the faults of the service. It verifies every request's
//! signature.
//!
//! Written from AWS's pages (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/>). Time does not
//! pass: a target reaches its next state after a number of looks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::auto_scaling::{SECRET, form};
use super::http_server::{Reply, Request};
use super::sigv4;

/// The fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused, and not carried out.
    Throttled,
    /// An internal error, and not carried out.
    Internal,
    /// Carried out, and the answer is lost.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The looks left until it is healthy.
    Initial(u32),
    Healthy,
    Unhealthy,
    /// The looks left until it is gone.
    Draining(u32),
}

/// The state of the services.
#[derive(Debug, Default)]
pub struct Services {
    /// Target groups by ARN; targets by instance and port.
    groups: BTreeMap<String, BTreeMap<(String, u16), State>>,
    /// Registered targets never become healthy.
    pub never_healthy: bool,
    /// The next calls' faults.
    pub faults: VecDeque<Fault>,
    /// The denied action.
    pub denied: &'static str,
    /// Changes, in order.
    pub moves: Vec<String>,
    /// The duration for which the application status checks are suppressed, if they are.
    pub suppressed: Option<u64>,
    /// Errors in requests.
    pub wrong: Vec<String>,
}

/// The tests' handle; the server holds another one.
#[derive(Debug, Clone, Default)]
pub struct LoadBalancing(Arc<Mutex<Services>>);

/// The ARN of a target group.
pub fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/{name}/0123456789abcdef")
}

impl LoadBalancing {
    /// Reads or changes the services.
    pub fn change<T>(&self, change: impl FnOnce(&mut Services) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Adds a healthy target.
    pub fn target(&self, group: &str, instance: &str, port: u16) {
        self.change(|services| {
            services.groups.entry(arn(group)).or_default().insert((instance.to_owned(), port), State::Healthy);
        });
    }

    /// The healthy targets of an instance: names of groups, with ports.
    pub fn healthy(&self, instance: &str) -> Vec<(String, u16)> {
        self.change(|services| {
            let of = |group: &String, targets: &BTreeMap<(String, u16), State>| {
                let name = group.split('/').nth(1).unwrap().to_owned();
                let own = targets.iter().filter(|((id, _), state)| id == instance && **state == State::Healthy);
                own.map(|((_, port), _)| (name.clone(), *port)).collect::<Vec<_>>()
            };
            services.groups.iter().flat_map(|(group, targets)| of(group, targets)).collect()
        })
    }

    /// Answers requests to these services; `None` for requests to other services.
    pub fn answer(&self, request: &Request) -> Option<Reply> {
        let scope = request.header("authorization").split('/').nth(3).unwrap_or_default().to_owned();
        matches!(scope.as_str(), "elasticloadbalancing" | "ec2").then(|| self.change(|services| services.take(request)))
    }
}

impl Services {
    fn take(&mut self, request: &Request) -> Reply {
        if let Err(problem) = sigv4::verify(request, SECRET, jiff::Timestamp::now()) {
            self.wrong.push(problem);
        }
        let form = form(&request.body);
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        let action = field("Action");
        if action == self.denied {
            return error(403, "AccessDenied", &format!("not authorized to perform {action}"));
        }
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Throttled) => return error(400, "Throttling", "Rate exceeded"),
            Some(Fault::Internal) => return error(500, "InternalFailure", "We are sorry"),
            Some(Fault::Lost) | None => {}
        }
        let reply = match action.as_str() {
            "EnableApplicationStatusCheckSuppression" => {
                self.suppressed = Some(field("DurationSeconds").parse().unwrap_or(0));
                answered(&action, "<successfulResults><item><instanceId>i</instanceId></item></successfulResults>")
            }
            "DisableApplicationStatusCheckSuppression" => {
                self.suppressed = None;
                answered(&action, "<successfulResults><item><instanceId>i</instanceId></item></successfulResults>")
            }
            _ => self.about_group(&action, &field),
        };
        if fault == Some(Fault::Lost) { reply.lost() } else { reply }
    }

    fn about_group(&mut self, action: &str, field: &dyn Fn(&str) -> String) -> Reply {
        let Some(targets) = self.groups.get_mut(&field("TargetGroupArn")) else {
            return error(400, "TargetGroupNotFound", "One or more target groups not found");
        };
        let named = field("Targets.member.1.Port").parse().ok().map(|port: u16| (field("Targets.member.1.Id"), port));
        let name = field("TargetGroupArn").split('/').nth(1).unwrap_or_default().to_owned();
        match (action, named) {
            ("DescribeTargetGroupAttributes", _) => answered(
                action,
                "<Attributes><member><Key>stickiness.enabled</Key><Value>false</Value></member><member>\
                 <Key>deregistration_delay.timeout_seconds</Key><Value>300</Value></member></Attributes>",
            ),
            ("DescribeTargetHealth", named) => {
                let asked: Vec<(String, u16)> = match named {
                    Some(named) => vec![named],
                    None => targets.keys().cloned().collect(),
                };
                let list: String = asked.iter().map(|target| described(target, look(targets, target))).collect();
                answered(action, &format!("<TargetHealthDescriptions>{list}</TargetHealthDescriptions>"))
            }
            ("RegisterTargets", Some(target)) => {
                let state = if self.never_healthy { State::Unhealthy } else { State::Initial(1) };
                self.moves.push(format!("register {name}:{}", target.1));
                targets.insert(target, state);
                answered(action, "")
            }
            ("DeregisterTargets", Some(target)) => {
                self.moves.push(format!("deregister {name}:{}", target.1));
                if let Some(state) = targets.get_mut(&target) {
                    *state = State::Draining(1);
                }
                answered(action, "")
            }
            (other, _) => {
                self.wrong.push(format!("asked for {other:?}"));
                error(400, "InvalidAction", "no such action")
            }
        }
    }
}

/// The state of a target, which advances with each look.
fn look(targets: &mut BTreeMap<(String, u16), State>, target: &(String, u16)) -> Option<State> {
    let state = targets.get_mut(target)?;
    let seen = *state;
    match seen {
        State::Initial(0) => *state = State::Healthy,
        State::Initial(left) => *state = State::Initial(left - 1),
        State::Draining(0) => {
            targets.remove(target);
        }
        State::Draining(left) => *state = State::Draining(left - 1),
        State::Healthy | State::Unhealthy => {}
    }
    Some(seen)
}

fn described((id, port): &(String, u16), state: Option<State>) -> String {
    let (state, reason, words) = match state {
        None => ("unused", "Target.NotRegistered", "Target is not registered to the target group"),
        Some(State::Initial(_)) => ("initial", "Elb.RegistrationInProgress", "Target registration is in progress"),
        Some(State::Healthy) => ("healthy", "", ""),
        Some(State::Unhealthy) => {
            ("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]")
        }
        Some(State::Draining(_)) => {
            ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
        }
    };
    let element = |name: &str, text: &str| {
        if text.is_empty() { String::new() } else { format!("<{name}>{text}</{name}>") }
    };
    format!(
        "<member><HealthCheckPort>{port}</HealthCheckPort><Target><Id>{id}</Id><Port>{port}</Port></Target><TargetHealth>\
         <State>{state}</State>{}{}</TargetHealth></member>",
        element("Reason", reason),
        element("Description", words)
    )
}

fn answered(action: &str, result: &str) -> Reply {
    let body = format!(
        "<{action}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><{action}Result>{result}\
         </{action}Result><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{action}Response>"
    );
    Reply::new(200, body).header("content-type", "text/xml")
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r-2</RequestId></ErrorResponse>"
    );
    Reply::new(status, body).header("content-type", "text/xml")
}
