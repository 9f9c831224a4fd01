//! An instance metadata service on loopback: version 2 enforced, tokens that expire, and faults on demand.
//!
//! Its answers follow EC2's documentation (docs/protocols/auto-scaling.md#metadata-service): a token by PUT, 401
//! without one, 403 for a PUT that came through a proxy, 404 for what the instance does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http_server::{Reply, Request, Server};
use super::s3_front::{ACCESS_KEY, SECRET_KEY};

/// The faults of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It accepts the connection and never answers the request for a token, as with a hop limit that is too low.
    TokenUnanswered,
    /// It has no tokens: version 1 only.
    NoTokens,
    /// Switched off for the instance.
    SwitchedOff,
    /// Only requests for tokens are answered in time.
    Slow,
    /// 500 with a page of HTML, this many times.
    ErrorPage(u32),
    /// 503, this many times.
    Throttle(u32),
    /// 200 with bytes that are not text.
    Garbage,
    /// 200 with a page of HTML, as from a captive portal.
    Portal,
    /// A body far longer than any real one.
    Endless,
    /// The connection breaks in the middle of each answer.
    Broken,
    /// No token is ever accepted.
    TokensNotTaken,
}

/// The instance, and the service's own state.
#[derive(Debug)]
pub struct Instance {
    pub id: String,
    pub region: String,
    pub tags: Option<BTreeMap<String, String>>,
    pub target_state: Option<String>,
    /// `spot/instance-action`.
    pub spot: Option<String>,
    /// `events/recommendations/rebalance`.
    pub rebalance: Option<String>,
    /// `events/maintenance/scheduled`.
    pub scheduled: Option<String>,
    /// The role whose credentials the instance gets.
    pub role: Option<String>,
    pub fault: Option<Fault>,
    /// The lifetime of a token, as the service reports it.
    pub token_seconds: u64,
    tokens: BTreeSet<String>,
    given_out: u32,
    failed: u32,
}

impl Instance {
    fn new(id: &str) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            id: id.to_owned(),
            region: "eu-central-1".to_owned(),
            tags: None,
            target_state: None,
            spot: None,
            rebalance: None,
            scheduled: None,
            role: None,
            fault: None,
            token_seconds: 21_600,
            tokens: BTreeSet::new(),
            given_out: 0,
            failed: 0,
        }))
    }
}

fn answering(instance: &Arc<Mutex<Instance>>) -> impl Fn(Request) -> std::future::Ready<Reply> + Send + Sync + 'static {
    let instance = Arc::clone(instance);
    move |request| std::future::ready(answer(&mut instance.lock().unwrap(), &request))
}

/// The running service.
pub struct Imds {
    server: Server,
    instance: Arc<Mutex<Instance>>,
}

impl Imds {
    /// The service of an instance without tags, group or role.
    pub fn start(id: &str) -> Self {
        let instance = Instance::new(id);
        Self { server: Server::start(answering(&instance)), instance }
    }

    /// The same at an IPv6 address; `None` with a printed reason if there is none.
    pub fn start_ipv6_or_skip(id: &str) -> Option<Self> {
        let instance = Instance::new(id);
        Some(Self { server: Server::start_ipv6_or_skip(answering(&instance))?, instance })
    }

    /// The endpoint, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Changes the instance, or the service's faults.
    pub fn change(&self, change: impl FnOnce(&mut Instance)) {
        change(&mut self.instance.lock().unwrap());
    }

    /// Forgets every token, like a restarted service.
    pub fn forget_tokens(&self) {
        self.instance.lock().unwrap().tokens.clear();
    }

    /// The number of tokens handed out.
    pub fn tokens_given_out(&self) -> u32 {
        self.instance.lock().unwrap().given_out
    }

    /// The requests so far: method and path.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.server.requests()
    }
}

const FAR_TOO_LONG: Duration = Duration::from_secs(3600);
const ERROR_PAGE: &str = "<html>\n<head><title>500</title></head><body>Internal Server Error</body></html>";

fn answer(instance: &mut Instance, request: &Request) -> Reply {
    if request.method == "PUT" && request.path() == "/latest/api/token" {
        return token(instance, request);
    }
    if request.method != "GET" {
        return Reply::new(405, "");
    }
    if !instance.tokens.contains(request.header("x-aws-ec2-metadata-token")) {
        return Reply::new(401, "");
    }
    let reply = data(instance, request.path());
    instance.failed += 1;
    match instance.fault {
        Some(Fault::Slow) => reply.after(FAR_TOO_LONG),
        Some(Fault::ErrorPage(times)) if instance.failed <= times => Reply::new(500, ERROR_PAGE),
        Some(Fault::Throttle(times)) if instance.failed <= times => Reply::new(503, ""),
        Some(Fault::Garbage) => Reply::new(200, vec![0xff, 0xfe, 0x00]),
        Some(Fault::Portal) => Reply::new(200, "<html>Please log in</html>"),
        Some(Fault::Endless) => Reply::new(200, vec![b'x'; 1 << 20]),
        Some(Fault::Broken) => reply.cut_after(2),
        _ => reply,
    }
}

fn token(instance: &mut Instance, request: &Request) -> Reply {
    let seconds: u64 = request.header("x-aws-ec2-metadata-token-ttl-seconds").parse().unwrap_or(0);
    match instance.fault {
        Some(Fault::TokenUnanswered) => return Reply::new(200, "").after(FAR_TOO_LONG),
        Some(Fault::NoTokens) => return Reply::new(405, ""),
        Some(Fault::SwitchedOff) => return Reply::new(403, ""),
        _ if !request.header("x-forwarded-for").is_empty() => return Reply::new(403, ""),
        _ if !(1..=21_600).contains(&seconds) => return Reply::new(400, ""),
        _ => {}
    }
    instance.given_out += 1;
    let token = format!("token-{}==", instance.given_out);
    if instance.fault != Some(Fault::TokensNotTaken) {
        instance.tokens.insert(token.clone());
    }
    let lasts = seconds.min(instance.token_seconds);
    Reply::new(200, token).header("x-aws-ec2-metadata-token-ttl-seconds", lasts.to_string())
}

fn data(instance: &Instance, path: &str) -> Reply {
    let text = |text: &str| Reply::new(200, text.to_owned());
    let absent = || Reply::new(404, "<html><title>404 - Not Found</title></html>");
    let Some(path) = path.strip_prefix("/latest/") else { return absent() };
    match path {
        "meta-data/instance-id" => text(&instance.id),
        "meta-data/instance-type" => text("t3.micro"),
        "meta-data/placement/region" => text(&instance.region),
        "meta-data/placement/availability-zone" => text(&format!("{}a", instance.region)),
        "meta-data/autoscaling/target-lifecycle-state" => instance.target_state.as_deref().map_or_else(absent, text),
        "meta-data/events/recommendations/rebalance" => instance.rebalance.as_deref().map_or_else(absent, text),
        "meta-data/events/maintenance/scheduled" => instance.scheduled.as_deref().map_or_else(absent, text),
        "meta-data/spot/instance-action" => instance.spot.as_deref().map_or_else(absent, text),
        "meta-data/services/partition" => text("aws"),
        "meta-data/services/domain" => text("amazonaws.com"),
        "dynamic/instance-identity/document" => text(&document(instance)),
        "meta-data/iam/security-credentials/" | "meta-data/iam/security-credentials" => {
            instance.role.as_deref().map_or_else(absent, text)
        }
        _ => {
            let role = path.strip_prefix("meta-data/iam/security-credentials/");
            if role.is_some() && role == instance.role.as_deref() {
                return text(&credentials());
            }
            let tags = path.strip_prefix("meta-data/tags/instance").zip(instance.tags.as_ref());
            match tags {
                Some(("" | "/", tags)) => text(&tags.keys().cloned().collect::<Vec<_>>().join("\n")),
                Some((name, tags)) => tags.get(name.trim_start_matches('/')).map_or_else(absent, |value| text(value)),
                None => absent(),
            }
        }
    }
}

fn document(instance: &Instance) -> String {
    serde_json::json!({
        "accountId": "123456789012", "architecture": "x86_64", "availabilityZone": format!("{}a", instance.region),
        "imageId": "ami-1", "instanceId": instance.id, "instanceType": "t3.micro", "privateIp": "10.0.0.1",
        "pendingTime": "2026-11-01T00:00:00Z", "region": instance.region, "version": "2017-09-30",
        "billingProducts": null,
    })
    .to_string()
}

fn credentials() -> String {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(6);
    serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY,
        "Token": "session", "LastUpdated": "2026-11-01T00:00:00Z",
        "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
    .to_string()
}
