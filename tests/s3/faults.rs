//! Faults of S3 and of the network, and the messages about them.

use std::sync::{Arc, Mutex};

use super::{S3Host, store};
use crate::support::eventually;
use crate::support::host::PATIENCE;
use crate::support::http_server::{Reply, Request, Server};
use crate::support::s3_front::{BUCKET, Front, error};

const RELEASE: &str = "/own-bucket/st/shop/web/release.json";

fn reads_release(request: &Request) -> bool {
    request.method == "GET" && request.path() == RELEASE
}

fn writes_release(request: &Request) -> bool {
    request.method == "PUT" && request.path() == RELEASE
}

fn html() -> Reply {
    Reply::new(500, "<html><body>oh no</body></html>").header("content-type", "text/html")
}

#[test]
fn what_passes_is_waited_for() {
    let cut = |reply: Reply| reply.cut_after(10);
    let reset = |reply: Reply| reply.reset_after(10);
    let slow = |reply: Reply| reply.slowly(64, std::time::Duration::from_millis(5));
    let front = Front::start();
    let host = S3Host::of(&front);
    let revision = host.push(host.bundle("v1"));
    let mut sequence = 0;
    let mut works = || {
        sequence += 1;
        host.ok(&["release", &store(), &revision]);
        // The channel was read despite the fault.
        host.once().with_code(0).saying(&[&format!("release {sequence} in ")]);
    };
    front.instead(3, reads_release, error(503, "SlowDown", "Please reduce your request rate."));
    works(); // a burst of SlowDown
    front.instead(2, reads_release, html());
    works(); // 500 with HTML
    front.instead(2, reads_release, Reply::new(200, "").lost());
    works(); // lost answers
    front.then(1, reads_release, cut);
    works(); // a body that was cut
    front.then(1, reads_release, reset);
    works(); // a connection that was reset
    front.then(1, reads_release, slow);
    works(); // a slow body
    front.then(1, reads_release, |reply| reply.claims_length(5_000).cut_after(20));
    works(); // a wrong length
}

#[test]
fn what_does_not_pass_is_named_with_what_to_do() {
    let front = Front::start();
    let host = S3Host::of(&front);
    for (reply, code, said) in [
        (
            error(403, "AccessDenied", "Access Denied"),
            1,
            &["access denied", "s3:GetObject", "REQUESTID", "EXTENDEDID"][..],
        ),
        (error(403, "RequestTimeTooSkewed", "The difference is too large."), 1, &["clock", "RequestTimeTooSkewed"][..]),
        (
            error(403, "InvalidAccessKeyId", "The key does not exist."),
            1,
            &["no valid credentials", "use an access key that exists"][..],
        ),
        (error(404, "NoSuchKey", "The key does not exist."), 5, &["holds no release"][..]),
        (
            error(404, "NoSuchBucket", "The bucket does not exist."),
            5,
            &["there is no bucket own-bucket (NoSuchBucket"][..],
        ),
        (html(), 1, &["HTTP 500", "temporary failure"][..]),
        (error(503, "SlowDown", "Please reduce your request rate."), 1, &["too many requests", "SlowDown"][..]),
    ] {
        front.instead(5, reads_release, reply);
        host.once().with_code(code).saying(said);
        // Unused tries must not reach the next case.
        front.forget_faults();
    }
    // The port is closed.
    let nowhere = S3Host::new("http://127.0.0.1:9");
    nowhere.once().with_code(1).saying(&["temporary failure", "cannot reach 127.0.0.1:9 (region", "refused"]);
    let mut nobody = S3Host::of(&front);
    nobody.environment.retain(|(name, _)| !name.starts_with("AWS_ACCESS"));
    nobody.once().with_code(1).saying(&["no valid credentials", "instance profile"]);
}

/// `push` begins with a HEAD, whose answer has no body: S3 gives the reason only in the answer to a GET.
#[test]
fn a_publishers_refusal_is_named_by_its_reason() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let bundle = host.bundle("v1").write();
    let push = || host.run(&["push", bundle.to_str().unwrap(), &store()]).with_code(1);
    for (reply, said) in [
        (error(403, "InvalidAccessKeyId", "The key does not exist."), &["no valid credentials", "InvalidAccessKeyId"]),
        (error(400, "ExpiredToken", "The provided token has expired."), &["credentials have expired", "ExpiredToken"]),
        (error(403, "RequestTimeTooSkewed", "The difference is too large."), &["clock", "timedatectl"]),
        (error(403, "AccessDenied", "Access Denied"), &["access denied", "the role or user of these credentials"]),
        (error(503, "SlowDown", "Please reduce your request rate."), &["too many requests", "SlowDown"]),
    ] {
        front.instead(usize::MAX, |_| true, reply);
        let said_by_push = push().saying(said);
        assert!(!said_by_push.err.contains("Error {"), "{said_by_push:?}");
        front.forget_faults();
    }
    // A server whose refusal has no reason at all.
    front.instead(usize::MAX, |_| true, Reply::new(403, ""));
    push().saying(&["access denied", "names no reason", "HTTP 403"]);
    front.forget_faults();
    push_with_a_wrong_secret(&front, &bundle);
    assert!(front.objects().keys().is_empty());
}

fn push_with_a_wrong_secret(front: &Front, bundle: &std::path::Path) {
    let mut host = S3Host::of(front);
    host.environment.retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    host.environment.push(("AWS_SECRET_ACCESS_KEY", "another".to_owned()));
    let said = host.run(&["push", bundle.to_str().unwrap(), &store()]).with_code(1);
    said.saying(&["no valid credentials", "SignatureDoesNotMatch"]);
}

/// Errors of a server are shown to people, in the output and in the log.
#[test]
fn what_a_server_says_does_not_act_on_the_terminal() {
    let front = Front::start();
    let host = S3Host::of(&front);
    front.instead(usize::MAX, reads_release, error(403, "Odd\u{9b}2J", "go \u{9b}1m away\u{202e}"));
    let once = host.once().with_code(1);
    assert!(once.err.contains("Odd\\u{9b}2J") && once.err.contains("\\u{9b}1m away\\u{202e}"), "{once:?}");
    let daemon = host.host.start_command(host.command(&["run", "--channel", &store(), "--poll", "1s"]));
    daemon.says("Odd\\u{9b}2J");
    host.host.status_when("the problem is known", |_| host.run(&["status"]).out.contains("is not followed"));
    let said = host.run(&["status"]).out;
    assert!(said.contains("Odd\\u{9b}2J"), "{said}");
    for text in [&once.err, &once.out, &said, &daemon.said()] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
    }
    daemon.kill();
}

#[test]
fn a_bucket_in_another_region_is_found_there() {
    let front = Front::start();
    let host = S3Host::of(&front);
    front.objects().region = Some("eu-west-3".to_owned());
    host.release(host.bundle("v1"));
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    // If the answer has no region, HeadBucket is asked; if that fails too, the message says so.
    front.objects().region = None;
    front.instead(1, reads_release, error(307, "TemporaryRedirect", "Please re-send."));
    front.instead(2, |r| r.method == "HEAD" && r.path().trim_end_matches('/') == "/own-bucket", error(301, "", ""));
    host.once().with_code(1).saying(&["another region"]);
}

#[test]
fn a_write_whose_answer_is_lost_is_found_again() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let revision = host.push(host.bundle("v1"));
    front.then(1, writes_release, Reply::lost);
    host.ok(&["release", &store(), &revision]).saying(&["release 1 "]);
    front.then(1, writes_release, Reply::lost);
    host.ok(&["release", &store(), &revision]).saying(&["release 2 "]);
    // The server did the write and says that it did not.
    front.then(1, writes_release, |_| html());
    host.ok(&["release", &store(), &revision]).saying(&["release 3 "]);
    // S3 could not decide a race: the agent reads everything again.
    front.instead(1, writes_release, error(409, "ConditionalRequestConflict", "A conflicting operation"));
    host.ok(&["release", &store(), &revision]).saying(&["release 4 "]);
    front.instead(1, writes_release, error(412, "PreconditionFailed", "no"));
    host.ok(&["release", &store(), &revision]).saying(&["release 5 "]);
}

#[test]
fn a_write_that_comes_late_and_twice_changes_nothing() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let revision = host.push(host.bundle("v1"));
    host.ok(&["release", &store(), &revision]);
    let late = Arc::new(Mutex::new(None::<Request>));
    let kept = Arc::clone(&late);
    front.act(1, writes_release, move |_, request| {
        *kept.lock().unwrap() = Some(request.clone());
        Reply::new(200, "").lost()
    });
    front.then(1, writes_release, Reply::lost);
    host.ok(&["release", &store(), &revision]).saying(&["release 2 "]);
    let request = late.lock().unwrap().take().expect("the first write");
    front.objects().serve(&request);
    assert_eq!(front.objects().writes.last().unwrap().1, 412, "the late one meets a changed object");
    host.ok(&["release", &store(), &revision]).saying(&["release 3 "]);
}

#[test]
fn a_store_that_ignores_conditions_is_refused_by_name() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let revision = host.push(host.bundle("v1"));
    front.objects().ignores_conditions = true;
    let said = ["ignores conditions", "second create", &format!("s3://{BUCKET}/st/")[..]];
    host.run(&["release", &store(), &revision]).with_code(1).saying(&said);
    assert_eq!(front.get("st/shop/web/release.json"), None, "nothing is published there");
}

#[test]
fn tls_with_certificates_of_ones_own_works_and_without_them_it_does_not() {
    let front = Front::start_tls();
    let host = S3Host::of(&front);
    let bundle = host.host.path("own.pem");
    std::fs::write(&bundle, front.server().certificate()).unwrap();
    let refused = host.once().with_code(1);
    assert!(refused.err.to_lowercase().contains("certificate"), "{refused:?}");
    host.host.configure(&format!("aws: {{ca_bundle: {}}}\n", bundle.display()));
    host.release(host.bundle("v1"));
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    std::fs::write(&bundle, "nothing").unwrap();
    host.once().with_code(2).saying(&["own.pem"]);
}

#[test]
fn the_proxy_is_used_for_what_it_is_meant_for() {
    let proxy = Server::start(|_| async { error(404, "NoSuchKey", "The key does not exist.") });
    let through = |host: &S3Host| {
        let before = proxy.requests().len();
        let ended = host.once();
        let seen = proxy.requests()[before..].to_vec();
        assert!(seen.iter().all(|(_, target)| target.contains("/own-bucket/")), "{seen:?}");
        (ended, seen.len())
    };
    let mut far = S3Host::new("http://s3.example.invalid");
    far.host.configure(&format!("aws: {{proxy: '{}'}}\n", proxy.url()));
    let (ended, seen) = through(&far);
    ended.with_code(5);
    assert!(seen > 0, "by the configuration");
    far.host.configure("aws: {}\n");
    far.environment.push(("ALL_PROXY", proxy.url()));
    let (ended, seen) = through(&far);
    ended.with_code(5);
    assert!(seen > 0, "by the environment");

    let front = Front::start();
    let near = S3Host::of(&front);
    near.release(near.bundle("v1"));
    for (what, settings) in [
        ("no_proxy", format!("aws: {{proxy: '{}', no_proxy: [127.0.0.0/8]}}\n", proxy.url())),
        ("direct for S3", format!("aws: {{proxy: '{}', s3: {{proxy: direct}}}}\n", proxy.url())),
    ] {
        near.host.configure(&settings);
        let (ended, seen) = through(&near);
        ended.with_code(0);
        assert_eq!(seen, 0, "{what}");
    }
}

/// `VmHWM` of a process: its highest memory so far.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn an_error_whose_body_never_ends_is_a_failed_poll_and_takes_no_memory() {
    let front = Front::start();
    let host = S3Host::of(&front);
    host.release(host.bundle("v1"));
    let daemon = host.host.start_command(host.command(&["run", "--channel", &store(), "--poll", "1s"]));
    host.host.status_when("v1 runs", |status| status["condition"] == "good");
    let before = peak_mib(daemon.pid());
    // Far more than is ever kept in memory, with a Content-Length beyond the body.
    let endless = Reply::new(403, vec![b'x'; 128 << 20]).claims_length(1 << 40);
    front.instead(usize::MAX, reads_release, endless);
    let status = || host.run(&["status", "--json"]);
    eventually("the poll has failed", PATIENCE, || {
        let said = status();
        if said.out.contains("more than 1048576 bytes") { Ok(()) } else { Err(format!("{said:?}\n{}", daemon.said())) }
    });
    let peak = peak_mib(daemon.pid());
    assert!(peak < before + 8, "{before} MiB before, and at most {peak} MiB\n{}", daemon.said());
    front.forget_faults();
    daemon.says("the channel can be read again");
    daemon.kill();
}
