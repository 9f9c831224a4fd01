//! Removed keys lose their effect even on a host whose release does not change, and that check costs one request in ten
//! polls.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use super::{S3Host, store};
use crate::support::eventually;
use crate::support::host::{Ended, PATIENCE, Running};
use crate::support::http_server::{Reply, Request, Server};
use crate::support::s3_front::Front;

const RELEASE: &str = "/own-bucket/st/shop/web/release.json";

/// A queue that delivers messages on request: each causes a poll of the channel.
struct Queue {
    server: Server,
    messages: Arc<Semaphore>,
}

impl Queue {
    fn start() -> Self {
        let messages = Arc::new(Semaphore::new(0));
        let waiting = Arc::clone(&messages);
        let server = Server::start(move |request| {
            let waiting = Arc::clone(&waiting);
            async move {
                if request.header("x-amz-target") != "AmazonSQS.ReceiveMessage" {
                    return Reply::new(200, "{}");
                }
                // Like SQS, before the client gives up.
                match tokio::time::timeout(Duration::from_secs(2), waiting.acquire()).await {
                    Ok(message) => message.unwrap().forget(),
                    Err(_) => return Reply::new(200, "{}"),
                }
                let body = json!({"Records": [{"s3": {"object": {"key": "st/shop/web/release.json"}}}]}).to_string();
                let message = json!({"Messages": [{"Body": body, "ReceiptHandle": "one"}]});
                Reply::new(200, message.to_string())
            }
        });
        Self { server, messages }
    }
}

/// A daemon that polls its channel on request, and its administrators' keys.
struct Idle {
    host: S3Host,
    front: Front,
    queue: Queue,
}

impl Idle {
    fn new() -> Self {
        let (front, queue) = (Front::start(), Queue::start());
        let idle = Self { host: S3Host::of(&front), front, queue };
        for name in ["k1", "k2"] {
            idle.host.ok(&["keygen", &idle.file(name)]);
        }
        let key = std::fs::read_to_string(idle.file("k1.pub")).unwrap();
        let key: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
        idle.host.host.configure(&format!(
            "aws: {{region: us-east-1, endpoint_url: \"{}\", s3: {{endpoint_url: \"{}\"}}}}\n\
             signatures: {{channel: {{keys: [{key}]}}}}\n\
             groups: [{{application: shop, group: web, channel: \"{}\", poll: 1h, report: false, wake_up_queue: \"{}/q\"}}]\n",
            idle.queue.server.url(),
            idle.front.server().url(),
            store(),
            idle.queue.server.url(),
        ));
        idle
    }

    fn file(&self, name: &str) -> String {
        self.host.host.path(name).to_str().unwrap().to_owned()
    }

    fn release(&self, version: &str, key: &str) {
        let revision = self.host.push(self.host.bundle(version));
        self.host.ok(&["release", &store(), &revision, "--key", &self.file(key)]);
    }

    /// From k1 to k2.
    fn rotate(&self, more: &[&str]) -> Ended {
        let (old, new) = (self.file("k1"), self.file("k2"));
        let public = self.file("k2.pub");
        let rotate = ["rotate-keys", &store(), "--public-key", &public, "--key", &old, "--key", &new];
        self.host.ok(&[&rotate[..], more].concat())
    }

    fn daemon(&self) -> Running {
        let mut command = self.host.command(&["run"]);
        command.env_remove("AWS_ENDPOINT_URL");
        self.host.host.start_command(command)
    }

    /// Polls of the channel so far: requests for the release, and for key policies.
    fn asked(&self) -> (usize, usize) {
        let requests = self.front.server().requests();
        let gets = |found: &dyn Fn(&str) -> bool| {
            requests.iter().filter(|(method, target)| method == "GET" && found(target)).count()
        };
        (gets(&|target| target.starts_with(RELEASE)), gets(&|target| target.contains("/keys/")))
    }

    /// Lets the host poll this many times in sequence.
    fn look(&self, times: usize, daemon: &Running) {
        for _ in 0..times {
            let before = self.looks();
            self.queue.messages.add_permits(1);
            eventually("the channel is looked at", PATIENCE, || match self.looks() {
                now if now > before => Ok(()),
                now => Err(format!("{now} looks\n{}", daemon.said())),
            });
        }
    }

    fn looks(&self) -> u64 {
        let status = self.host.run(&["status", "--json"]).json();
        let looks = status["daemon"]["channels"][0]["polls"].as_u64();
        looks.unwrap_or_else(|| panic!("{status}"))
    }

    fn key_policy(&self) -> Option<u64> {
        self.host.run(&["status", "--json"]).json()["groups"][0]["key_policy"].as_u64()
    }
}

/// Another publisher puts a release there while the keys change: the rotation signs that release. A policy whose answer
/// is lost counts as published.
#[test]
fn of_two_publishers_at_once_the_rotation_goes_on_from_what_the_other_left() {
    let idle = Idle::new();
    idle.release("v1", "k1");
    let first = idle.front.get("st/shop/web/release.json").unwrap();
    idle.release("v2", "k1");
    let second = idle.front.get("st/shop/web/release.json").unwrap();
    idle.front.put("st/shop/web/release.json", first);
    idle.front.then(1, |r| r.method == "PUT" && r.path().contains("/keys/2.json"), Reply::lost);
    let writes_release = |r: &Request| r.method == "PUT" && r.path() == RELEASE;
    idle.front.act(1, writes_release, move |objects, request| {
        objects.put("st/shop/web/release.json", second.clone());
        objects.serve(request)
    });
    let rotated = idle.rotate(&[]);
    rotated.saying(&["release 2 (sha256:", "is signed with the new keys"]);
    idle.host.once().with_code(0);
    assert_eq!(idle.host.version(), "v2");
}

/// The download takes as long as the server wants; meanwhile the key is removed. A release that the new keys have
/// signed too continues.
#[test]
fn a_release_that_is_being_brought_here_ends_with_the_keys_that_signed_it() {
    for signed_again in [false, true] {
        let idle = Idle::new();
        idle.release("v1", "k1");
        let gate = idle.front.hold(|request| request.method == "GET" && request.path().contains("/revisions/"));
        let daemon = idle.daemon();
        idle.host.host.status_when("its bundle is being fetched", |group| group["active"].is_object());
        idle.rotate(if signed_again { &[] } else { &["--keys-only"] });
        idle.look(1, &daemon);
        assert_eq!(idle.key_policy(), Some(2), "{}", daemon.said());
        gate.open();
        if signed_again {
            idle.host.host.status_when("v1 runs", |group| group["condition"] == "good");
            assert_eq!(idle.host.version(), "v1");
        } else {
            daemon.says("keys that signed the release were taken away before anything of it was used");
            daemon.says("by keys that are not among them");
            assert_eq!(idle.host.version(), "");
        }
        daemon.kill();
    }
}

/// Publisher and administrator do not see each other: the keys change after the publisher has read them and before the
/// release is there, so there was no release for the administrator to sign again.
#[test]
fn a_release_that_is_published_while_the_keys_change_is_told_and_the_rotation_signs_it() {
    let idle = Idle::new();
    idle.rotate(&[]).saying(&["nothing has been released yet"]);
    let policy = idle.front.get("st/shop/web/keys/2.json").unwrap();
    idle.front.delete("st/shop/web/keys/2.json");
    let revision = idle.host.push(idle.host.bundle("v1"));
    let writes_release = |r: &Request| r.method == "PUT" && r.path() == RELEASE;
    idle.front.act(1, writes_release, move |objects, request| {
        objects.put("st/shop/web/keys/2.json", policy.clone());
        objects.serve(request)
    });
    let told = idle.host.run(&["release", &store(), &revision, "--key", &idle.file("k1")]).with_code(6);
    told.saying(&["release 1 is published, and the keys changed at the same moment", "hostler rotate-keys"]);
    idle.host.once().with_code(6);
    idle.rotate(&[]).saying(&["release 1 (sha256:", "is signed with the new keys"]);
    idle.host.once().with_code(0);
    assert_eq!(idle.host.version(), "v1");
}

#[test]
fn a_key_that_was_taken_away_is_dead_within_ten_looks_of_an_idle_host() {
    let idle = Idle::new();
    idle.release("v1", "k1");
    let daemon = idle.daemon();
    idle.host.host.status_when("v1 runs, and nothing is left to do", |s| s["condition"] == "good");
    // The release was read again after its deployment; from now on it is unchanged.
    idle.look(2, &daemon);
    let settled = idle.asked();
    idle.look(10, &daemon);
    let ten_looks = idle.asked();
    assert_eq!((ten_looks.0 - settled.0, ten_looks.1 - settled.1), (10, 1), "requests of ten looks");
    // The store shows the old release: its writer hides the new signatures.
    idle.rotate(&["--keys-only"]);
    assert_eq!(idle.key_policy(), None);
    idle.look(10, &daemon);
    assert_eq!(idle.key_policy(), Some(2), "{}", daemon.said());
    // With the old key and the bucket: the new keys are gone, and the old key has signed a release.
    idle.front.delete("st/shop/web/keys/2.json");
    idle.release("evil", "k1");
    idle.look(11, &daemon);
    daemon.says("by keys that are not among them");
    assert_eq!(idle.host.version(), "v1");
    daemon.kill();
}
