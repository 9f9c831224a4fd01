//! An Auto Scaling group on loopback: the instance's states, its lifecycle hooks with heartbeats and default results, a
//! warm pool, and the errors of the service. Every request's signature is verified.
//!
//! Written from AWS's pages (docs/protocols/auto-scaling.md#lifecycle-hooks,
//! docs/protocols/auto-scaling.md#warm-pools). Time does not pass by itself: the test sets when a hook's time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http_server::{Reply, Request, Server};
use super::sigv4;

/// The secret for signing requests; the same as for the other services here.
pub use super::s3_front::SECRET_KEY as SECRET;

/// Longer than any test.
const HELD: Duration = Duration::from_secs(3600);

/// A hook of the group.
#[derive(Debug, Clone)]
struct Hook {
    name: String,
    launching: bool,
    default_result: &'static str,
}

/// Evaluated before a completion is accepted.
type Proof = dyn Fn() -> bool + Send;

/// The state of the group.
pub struct Group {
    instance: String,
    /// `LifecycleState`; empty when the instance is not a member.
    pub state: String,
    /// The target state, as IMDS reports it.
    target: String,
    hooks: Vec<Hook>,
    /// Hooks that wait now.
    waiting: BTreeSet<String>,
    abandoned: bool,
    /// Heartbeats by hook.
    pub heartbeats: BTreeMap<String, u32>,
    /// Accepted completions, in order: hook and result.
    pub completed: Vec<(String, String)>,
    /// Number of completions refused as unknown.
    pub unknown: u32,
    /// Number of completions and heartbeats that still meet a contention.
    pub contention: u32,
    /// Number of completions that are still accepted with their answers lost.
    pub lost_answers: u32,
    /// Completions are refused because the action has not begun.
    pub too_early: bool,
    /// Denied actions.
    pub denied: Vec<&'static str>,
    /// Whether the work is done; an earlier completion is wrong.
    pub proof: Option<Box<Proof>>,
    /// The results sent for the hooks of this wait, accepted or not.
    sent: BTreeMap<String, String>,
    /// The call that is never answered: its name, its number among calls of that name, and whether it is done before
    /// that. Calls after the first completion have a name of their own.
    pub hold: Option<(&'static str, usize, bool)>,
    /// That call has come.
    pub held: bool,
    calls: BTreeMap<String, usize>,
    /// Other instances of the group, with their states.
    pub fellows: Vec<(String, String)>,
    /// Instances that the group considers unhealthy.
    pub unhealthy: BTreeSet<String>,
    /// Instances reported as unhealthy, in order.
    pub reported: Vec<String>,
    /// Reports that respect the grace period are accepted and change nothing.
    pub in_grace_period: bool,
    /// Errors in requests.
    pub wrong: Vec<String>,
    /// Its size and its load balancers.
    pub service: Service,
}

/// A group's capacity and load balancers, and how Standby works
/// (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html>).
#[derive(Debug, Clone)]
pub struct Service {
    pub min: u64,
    pub desired: u64,
    pub max: u64,
    /// `EC2`, or `ELB`.
    pub health_check_type: &'static str,
    pub target_groups: Vec<String>,
    pub classic_load_balancers: Vec<String>,
    pub launch_suspended: bool,
    /// Number of looks at the instance that still see it in transition.
    pub on_its_way: u32,
    left_on_its_way: u32,
    /// Changes, in order.
    pub moves: Vec<&'static str>,
    /// Number of calls that are still throttled, and not carried out.
    pub throttled: u32,
    /// Number of changing calls that are still carried out with their answers lost.
    pub lost: u32,
    /// Calls so far, including those to the services beside it.
    pub calls: u32,
    /// The call with this number is carried out, but never answered.
    pub hold: Option<u32>,
}

impl Service {
    fn holds_this_call(&mut self) -> bool {
        self.calls += 1;
        self.hold == Some(self.calls)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            min: 1,
            desired: 2,
            max: 3,
            health_check_type: "EC2",
            target_groups: Vec::new(),
            classic_load_balancers: Vec::new(),
            launch_suspended: false,
            on_its_way: 1,
            left_on_its_way: 0,
            moves: Vec::new(),
            throttled: 0,
            lost: 0,
            calls: 0,
            hold: None,
        }
    }
}

/// The suffix of the name of a call after a completion.
pub const AFTER_THE_END: &str = " after the end";

/// The running service.
pub struct AutoScaling {
    server: Server,
    group: Arc<Mutex<Group>>,
}

impl AutoScaling {
    /// A group of which the instance is not a member yet.
    pub fn start(instance: &str) -> Self {
        Self::start_beside(instance, |_| None)
    }

    /// The same on an address shared with other services: requests that `beside` answers do not belong to this one.
    pub fn start_beside(instance: &str, beside: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let group = Arc::new(Mutex::new(Group {
            instance: instance.to_owned(),
            state: String::new(),
            target: String::new(),
            hooks: Vec::new(),
            waiting: BTreeSet::new(),
            abandoned: false,
            heartbeats: BTreeMap::new(),
            completed: Vec::new(),
            unknown: 0,
            contention: 0,
            lost_answers: 0,
            too_early: false,
            denied: Vec::new(),
            proof: None,
            sent: BTreeMap::new(),
            hold: None,
            held: false,
            calls: BTreeMap::new(),
            fellows: Vec::new(),
            unhealthy: BTreeSet::new(),
            reported: Vec::new(),
            in_grace_period: false,
            wrong: Vec::new(),
            service: Service::default(),
        }));
        let shared = Arc::clone(&group);
        let server = Server::start(move |request| {
            let other = beside(&request);
            let mut group = shared.lock().unwrap();
            let reply = other.unwrap_or_else(|| group.hold_or_answer(&request));
            let reply = if group.service.holds_this_call() { reply.after(HELD) } else { reply };
            async move { reply }
        });
        Self { server, group }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A hook; launches default to ABANDON, terminations to CONTINUE.
    pub fn hook(&self, name: &str, launching: bool) {
        let default_result = if launching { "ABANDON" } else { "CONTINUE" };
        self.change(|group| group.hooks.push(Hook { name: name.to_owned(), launching, default_result }));
    }

    /// Reads or changes the group.
    pub fn change<T>(&self, change: impl FnOnce(&mut Group) -> T) -> T {
        change(&mut self.group.lock().unwrap())
    }

    /// The instance's state.
    pub fn state(&self) -> String {
        self.change(|group| group.state.clone())
    }

    /// Moves the instance to a state where the hooks of that transition wait; without hooks it continues at once.
    pub fn enter(&self, target: &str, state: &str) {
        self.change(|group| group.enter(target, state));
    }

    /// Ends the time of every hook that waits.
    pub fn time_is_over(&self) {
        self.change(|group| {
            let waiting = std::mem::take(&mut group.waiting);
            group.abandoned |= group.hooks.iter().any(|h| waiting.contains(&h.name) && h.default_result == "ABANDON");
            group.go_on();
        });
    }

    /// Requests for the state so far.
    pub fn described(&self) -> usize {
        self.server.requests().len()
    }
}

impl Group {
    fn enter(&mut self, target: &str, state: &str) {
        (self.target, self.state) = (target.to_owned(), state.to_owned());
        let launching = state.contains("Pending");
        let of_transition = self.hooks.iter().filter(|hook| hook.launching == launching);
        self.waiting = of_transition.map(|hook| hook.name.clone()).collect();
        self.abandoned = false;
        self.sent.clear();
        self.calls.clear();
        if state.ends_with(":Wait") && self.waiting.is_empty() {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        let next = match self.state.as_str() {
            "Pending:Wait" if !self.abandoned => "InService",
            "Warmed:Pending:Wait" if !self.abandoned => "Warmed:Stopped",
            "Terminating:Wait" if self.target.starts_with("Warmed:") => {
                let target = self.target.clone();
                return self.enter(&target, "Warmed:Pending:Wait");
            }
            _ => "Terminated",
        };
        self.state = next.to_owned();
    }

    /// Answers the request, or holds the call that a test waits for.
    fn hold_or_answer(&mut self, request: &Request) -> Reply {
        let mut name = form(&request.body).remove("Action").unwrap_or_default();
        if !self.completed.is_empty() {
            name.push_str(AFTER_THE_END);
        }
        let calls = self.calls.entry(name.clone()).or_default();
        *calls += 1;
        match self.hold {
            Some((wanted, nth, done)) if wanted == name && nth == *calls => {
                self.held = true;
                let reply = if done { self.answer(request) } else { Reply::new(200, "") };
                reply.after(Duration::from_secs(3600))
            }
            _ => self.answer(request),
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        match sigv4::verify(request, SECRET, jiff::Timestamp::now()) {
            Ok(signed) if signed.service == "autoscaling" => {}
            Ok(signed) => self.wrong.push(format!("signed for {}", signed.service)),
            Err(problem) => self.wrong.push(problem),
        }
        let form = form(&request.body);
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        if let Some(reply) = self.service_fault() {
            return reply;
        }
        let (hook, instance) = (field("LifecycleHookName"), field("InstanceId"));
        match field("Action").as_str() {
            action if self.denied.contains(&action) => {
                error(403, "AccessDenied", &format!("not authorized to perform: autoscaling:{action}"))
            }
            "DescribeAutoScalingInstances" => {
                self.goes_on_its_way();
                self.describe(&field("InstanceIds.member.1"))
            }
            "DescribeAutoScalingGroups" => self.describe_group(&field("AutoScalingGroupNames.member.1")),
            "EnterStandby" => {
                let decrement = field("ShouldDecrementDesiredCapacity") == "true";
                self.enter_standby(&field("InstanceIds.member.1"), decrement)
            }
            "ExitStandby" => self.exit_standby(&field("InstanceIds.member.1")),
            "SetInstanceHealth" => {
                if (field("HealthStatus"), field("ShouldRespectGracePeriod")) != ("Unhealthy".into(), "true".into()) {
                    self.wrong.push(format!("asked for {form:?}"));
                }
                self.set_unhealthy(instance)
            }
            "DescribeLifecycleHooks" => self.describe_hooks(),
            "RecordLifecycleActionHeartbeat" => self.heartbeat(hook, &instance),
            "CompleteLifecycleAction" => self.complete(&hook, &instance, &field("LifecycleActionResult")),
            other => {
                self.wrong.push(format!("asked for {other:?}"));
                error(400, "InvalidAction", "no such action")
            }
        }
    }

    fn active(&mut self, hook: &str, instance: &str) -> Result<(), Reply> {
        if self.contention > 0 {
            self.contention -= 1;
            return Err(error(500, "ResourceContention", "You already have a pending update to this resource."));
        }
        if instance == self.instance && self.waiting.contains(hook) && !self.too_early {
            return Ok(());
        }
        let text = format!("No active Lifecycle Action found with instance ID {instance}");
        Err(error(400, "ValidationError", &text))
    }

    fn heartbeat(&mut self, hook: String, instance: &str) -> Reply {
        if self.sent.contains_key(&hook) {
            self.wrong.push(format!("{hook} is kept alive after its completion was sent"));
        }
        match self.active(&hook, instance) {
            Err(reply) => reply,
            Ok(()) => {
                *self.heartbeats.entry(hook).or_default() += 1;
                done("RecordLifecycleActionHeartbeat")
            }
        }
    }

    fn complete(&mut self, hook: &str, instance: &str, result: &str) -> Reply {
        if self.proof.as_ref().is_some_and(|proof| !proof()) {
            self.wrong.push(format!("{hook} is completed before the work is done"));
        }
        let before = self.sent.insert(hook.to_owned(), result.to_owned());
        if before.is_some_and(|before| before != result) {
            self.wrong.push(format!("{hook} is completed with another result: {result}"));
        }
        if let Err(reply) = self.active(hook, instance) {
            self.unknown += 1;
            return reply;
        }
        self.waiting.remove(hook);
        self.completed.push((hook.to_owned(), result.to_owned()));
        if result == "ABANDON" {
            self.abandoned = true;
            self.waiting.clear();
        }
        self.go_on();
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return done("CompleteLifecycleAction").lost();
        }
        done("CompleteLifecycleAction")
    }

    /// All instances that are members, with their states.
    fn members(&self) -> impl Iterator<Item = (&String, &String)> {
        let own = (!self.state.is_empty()).then_some((&self.instance, &self.state));
        own.into_iter().chain(self.fellows.iter().map(|(instance, state)| (instance, state)))
    }

    fn describe(&self, asked: &str) -> Reply {
        let found = self.members().filter(|(instance, _)| *instance == asked).map(|(instance, state)| {
            let health = if self.unhealthy.contains(instance) { "UNHEALTHY" } else { "HEALTHY" };
            format!(
                "<member><InstanceId>{instance}</InstanceId><AutoScalingGroupName>web-asg</AutoScalingGroupName>\
                 <AvailabilityZone>eu-central-1a</AvailabilityZone><LifecycleState>{state}</LifecycleState>\
                 <HealthStatus>{health}</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
            )
        });
        let list = format!("<AutoScalingInstances>{}</AutoScalingInstances>", found.collect::<String>());
        answered("DescribeAutoScalingInstances", &list)
    }

    fn set_unhealthy(&mut self, instance: String) -> Reply {
        if !self.members().any(|(found, state)| *found == instance && state == "InService") {
            return error(400, "ValidationError", &format!("Instance {instance} is not in service."));
        }
        self.reported.push(instance.clone());
        if !self.in_grace_period {
            self.unhealthy.insert(instance);
        }
        // It has no result element (API_SetInstanceHealth).
        let body = format!(
            "<SetInstanceHealthResponse xmlns=\"{NAMESPACE}\"><ResponseMetadata><RequestId>r-1</RequestId>\
             </ResponseMetadata></SetInstanceHealthResponse>"
        );
        Reply::new(200, body).header("content-type", "text/xml")
    }

    fn service_fault(&mut self) -> Option<Reply> {
        if self.service.throttled > 0 {
            self.service.throttled -= 1;
            return Some(error(400, "Throttling", "Rate exceeded"));
        }
        None
    }

    fn goes_on_its_way(&mut self) {
        let next = match self.state.as_str() {
            "EnteringStandby" => "Standby",
            "Pending" => "InService",
            _ => return,
        };
        if self.service.left_on_its_way == 0 {
            self.state = next.to_owned();
        } else {
            self.service.left_on_its_way -= 1;
        }
    }

    fn enter_standby(&mut self, instance: &str, decrement: bool) -> Reply {
        let Service { min, desired, max, .. } = self.service;
        if instance != self.instance || self.state != "InService" {
            return error(400, "ValidationError", &format!("The instance {instance} is not in InService."));
        }
        if decrement && desired <= min {
            let text = format!(
                "AutoScalingGroup web-asg has min-size={min}, max-size={max}, and desired-size={desired}. To place into \
                 standby 1 instance, please update the AutoScalingGroup sizes appropriately."
            );
            return error(400, "ValidationError", &text);
        }
        self.service.desired -= u64::from(decrement);
        self.moved("EnterStandby", "EnteringStandby")
    }

    fn exit_standby(&mut self, instance: &str) -> Reply {
        let Service { desired, max, launch_suspended, .. } = self.service;
        if instance != self.instance || self.state != "Standby" {
            return error(400, "ValidationError", &format!("The instance {instance} is not in Standby."));
        }
        if launch_suspended || desired >= max {
            return error(400, "ValidationError", "The group does not take the instance back.");
        }
        self.service.desired += 1;
        self.moved("ExitStandby", "Pending")
    }

    fn moved(&mut self, action: &'static str, state: &str) -> Reply {
        self.state = state.to_owned();
        self.service.left_on_its_way = self.service.on_its_way;
        self.service.moves.push(action);
        let activity = "<Activities><member><ActivityId>a-1</ActivityId><AutoScalingGroupName>web-asg</AutoScalingGroupName>\
                        <Cause>asked</Cause><StartTime>2026-11-01T00:00:00Z</StartTime><StatusCode>InProgress</StatusCode>\
                        </member></Activities>";
        let reply = answered(action, activity);
        if self.service.lost > 0 {
            self.service.lost -= 1;
            return reply.lost();
        }
        reply
    }

    fn describe_group(&self, name: &str) -> Reply {
        if name != "web-asg" {
            return answered("DescribeAutoScalingGroups", "<AutoScalingGroups/>");
        }
        let Service { min, desired, max, health_check_type, .. } = self.service;
        let members =
            |items: &[String]| items.iter().map(|item| format!("<member>{item}</member>")).collect::<String>();
        let suspended = if self.service.launch_suspended {
            "<member><ProcessName>Launch</ProcessName><SuspensionReason>by hand</SuspensionReason></member>"
        } else {
            ""
        };
        let own = (self.instance.clone(), self.state.clone());
        let instances = self.fellows.iter().chain((!self.state.is_empty()).then_some(&own)).map(|(instance, state)| {
            format!(
                "<member><InstanceId>{instance}</InstanceId><AvailabilityZone>eu-central-1a</AvailabilityZone>\
                 <LifecycleState>{state}</LifecycleState><HealthStatus>Healthy</HealthStatus>\
                 <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
            )
        });
        let group = format!(
            "<AutoScalingGroups><member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>{min}</MinSize>\
             <MaxSize>{max}</MaxSize><DesiredCapacity>{desired}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
             <AvailabilityZones/><LoadBalancerNames>{}</LoadBalancerNames><TargetGroupARNs>{}</TargetGroupARNs>\
             <HealthCheckType>{health_check_type}</HealthCheckType><CreatedTime>2026-11-01T00:00:00Z</CreatedTime>\
             <Instances>{}</Instances><SuspendedProcesses>{suspended}</SuspendedProcesses></member></AutoScalingGroups>",
            members(&self.service.classic_load_balancers),
            members(&self.service.target_groups),
            instances.collect::<String>()
        );
        answered("DescribeAutoScalingGroups", &group)
    }

    fn describe_hooks(&self) -> Reply {
        let mut list = String::new();
        for hook in &self.hooks {
            let transition = if hook.launching { "EC2_INSTANCE_LAUNCHING" } else { "EC2_INSTANCE_TERMINATING" };
            list.push_str(&format!(
                "<member><LifecycleHookName>{}</LifecycleHookName><AutoScalingGroupName>web-asg</AutoScalingGroupName>\
                 <LifecycleTransition>autoscaling:{transition}</LifecycleTransition><HeartbeatTimeout>3600</HeartbeatTimeout>\
                 <GlobalTimeout>172800</GlobalTimeout><DefaultResult>{}</DefaultResult></member>",
                hook.name, hook.default_result
            ));
        }
        answered("DescribeLifecycleHooks", &format!("<LifecycleHooks>{list}</LifecycleHooks>"))
    }
}

const NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

fn answered(action: &str, result: &str) -> Reply {
    let body = format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{action}Response>"
    );
    Reply::new(200, body).header("content-type", "text/xml")
}

fn done(action: &str) -> Reply {
    answered(action, "")
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error><RequestId>r-2</RequestId></ErrorResponse>"
    );
    Reply::new(status, body).header("content-type", "text/xml")
}

/// The fields of a form.
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let decode = |text: &str| String::from_utf8_lossy(&sigv4::decode(&text.replace('+', " "))).into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
