//! Health checks: they gate a deployment, continue after it, and answer the load balancer.

mod replacement;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Gate, Host, PATIENCE, Running};
use crate::support::http_server::{Reply, Server};

/// An application that answers with a status set by the test.
struct Application {
    server: Server,
    status: Arc<AtomicU16>,
}

impl Application {
    fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let answered = Arc::clone(&status);
        let server = Server::start(move |_| {
            let status = answered.load(Ordering::SeqCst);
            async move { Reply::new(status, "an answer") }
        });
        Self { server, status }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("{}/health", self.server.url())
    }

    /// A check of an appspec that asks every second.
    fn check(&self, more: &str) -> String {
        format!(
            "  health:\n    - http: {{url: '{}'}}\n      interval: 1s\n      successes: 1\n      failures: 2\n{more}",
            self.url()
        )
    }
}

fn bundle(host: &Host, version: &str, extension: &str) -> PathBuf {
    Bundle::new(host, version).app().all_hooks().extension(extension).write()
}

#[test]
fn a_deployment_waits_until_its_application_is_healthy() {
    let (host, application) = (Host::new(), Application::new());
    application.answers(503);
    let deployment = host.start(&["deploy", bundle(&host, "v1", &application.check("")).to_str().unwrap()]);
    eventually("the application is asked", PATIENCE, || {
        let asked = application.server.requests();
        if asked.len() >= 3 { Ok(()) } else { Err(format!("{asked:?}")) }
    });
    assert!(!deployment.said().contains("ValidateService succeeded"), "{}", deployment.said());
    application.answers(200);
    let ended = deployment.end().with_code(0).saying(&["ValidateService", "succeeded"]);
    // What it waits for is told while it waits: the first failure, and the change; no answer twice.
    let waits = format!("  health check of {}: ", application.url());
    let told: Vec<&str> = ended.out.lines().filter_map(|line| line.strip_prefix(&waits)).collect();
    assert_eq!(told, ["HTTP 503", "succeeded"], "{}", ended.out);
    let (_, asked) = application.server.requests().pop().unwrap();
    assert_eq!(asked, "/health");
}

#[test]
fn an_application_that_does_not_become_healthy_is_rolled_back_and_the_cause_is_told() {
    let (host, application) = (Host::new(), Application::new());
    host.deploy(&bundle(&host, "v1", ""), &[]).with_code(0);
    application.answers(503);
    let failed = host.deploy(&bundle(&host, "v2", &application.check("      grace: 1s\n")), &[]).with_code(1);
    let cause = format!("checks of {} failed: HTTP 503", application.url());
    failed.saying(&["ValidateService failed", &cause, "returning to"]);
    assert_eq!(host.version(), "v1");
    let status = host.status();
    assert_eq!(status["condition"], "rolled_back", "{status}");
    assert_eq!(status["failed"]["failure"]["event"], "ValidateService", "{status}");
}

#[test]
fn in_the_bake_time_an_unhealthy_application_is_still_rolled_back() {
    let (host, application) = (Host::new(), Application::new());
    host.deploy(&bundle(&host, "v1", ""), &[]).with_code(0);
    let v2 = bundle(&host, "v2", &application.check("  bake_time: 10m\n"));
    let deployment = host.start(&["deploy", v2.to_str().unwrap()]);
    eventually("the last scripts have run", PATIENCE, || {
        let lines = host.hook_lines();
        if lines.iter().any(|l| l == "v2 AfterAllowTraffic") { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    application.answers(500);
    deployment.end().with_code(1).saying(&["AfterAllowTraffic failed", "unhealthy in the bake time", "500"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_deployment_that_was_killed_while_it_waited_is_asked_for_again() {
    let (host, application) = (Host::new(), Application::new());
    application.answers(503);
    let v1 = bundle(&host, "v1", &application.check(""));
    let deployment = host.start(&["deploy", v1.to_str().unwrap()]);
    eventually("the application is asked", PATIENCE, || {
        if application.server.requests().is_empty() { Err("it is not".to_owned()) } else { Ok(()) }
    });
    deployment.kill();
    application.answers(200);
    host.ok(&["run", "--once"]).saying(&["taken up again, it succeeded"]);
}

#[test]
fn after_a_deployment_the_checks_go_on_and_status_shows_them() {
    let (host, application) = (Host::new(), Application::new());
    host.configure(&format!(
        "groups: [{{application: shop, group: web, health: [{{http: {{url: '{}'}}, name: front, interval: 1s, \
         successes: 1, failures: 2}}]}}]\n",
        application.url()
    ));
    let daemon = host.daemon(&[]);
    host.deploy(&bundle(&host, "v1", ""), &[]).with_code(0);
    host.status_when("it is healthy", |s| s["health"]["colour"] == "green");
    application.answers(503);
    let status = host.status_when("it is unhealthy", |s| s["health"]["colour"] == "red");
    let cause = status["health"]["causes"][0].as_str().unwrap();
    assert!(cause.ends_with(&format!("checks of {} failed: HTTP 503", application.url())), "{cause}");
    assert_eq!(status["health"]["checks"][0]["name"], "front", "{status}");
    assert_eq!(status["condition"], "good", "the deployment was good: {status}");
    host.ok(&["status"]).saying(&["health:    RED since", cause.split_once(' ').unwrap().1]);
    daemon.says("unhealthy: ");
    // A new daemon first knows nothing, and then the same.
    daemon.kill();
    let _again = host.daemon(&[]);
    application.answers(200);
    host.status_when("it is healthy again", |s| s["health"]["colour"] == "green");
}

/// The status that a load balancer's health check gets.
fn asked_by_balancer(port: u16) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /any HTTP/1.1\r\nHost: x\r\n\r\n").map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    Ok(answer)
}

fn balancer_sees(port: u16, what: &str, status: &str, text: &str) {
    eventually(what, PATIENCE, || {
        let answer = asked_by_balancer(port)?;
        let fits = answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(text);
        if fits { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_load_balancer_is_answered_503_while_the_host_is_deployed_to() {
    let (host, application) = (Host::new(), Application::new());
    host.configure("health_listener: 127.0.0.1:0\n");
    let daemon = host.daemon(&[]);
    let port = listens_on(&daemon);
    balancer_sees(port, "nothing is installed", "503", "nothing is installed");
    host.deploy(&bundle(&host, "v1", &application.check("")), &[]).with_code(0);
    balancer_sees(port, "it is healthy", "200", "healthy");
    let gate = Gate::new(&host, "hook");
    let wait = gate.wait();
    let v2 = Bundle::new(&host, "v2").app().hook("AfterInstall", &wait).all_hooks();
    let v2 = v2.extension(&application.check("")).write();
    let deployment = host.start(&["deploy", v2.to_str().unwrap()]);
    balancer_sees(port, "a deployment takes it out", "503", "shop/web is being deployed");
    gate.open();
    deployment.end().with_code(0);
    balancer_sees(port, "it is back", "200", "healthy");
    application.answers(503);
    balancer_sees(port, "its application is unhealthy", "503", "failed: HTTP 503");
}

/// The port on which the daemon answers load balancers.
fn listens_on(daemon: &Running) -> u16 {
    eventually("the listener is open", PATIENCE, || {
        let said = daemon.said();
        let rest = said.split("health checks are answered on 127.0.0.1:").nth(1);
        let port = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        port.ok_or(said)
    })
}

/// Idle connections take only a part of the descriptors, even if there are few: deployments continue meanwhile.
#[test]
fn idle_connections_leave_descriptors_to_everything_else() {
    const SOFT_LIMIT: usize = 128;
    let host = Host::new();
    host.configure("health_listener: 127.0.0.1:0\n");
    let mut command = Command::new("/bin/sh");
    let limited = host.command(&["run"]);
    command.args(["-c", &format!("ulimit -Sn {SOFT_LIMIT} && exec \"$0\" \"$@\"")]).arg(limited.get_program());
    command.args(limited.get_args());
    let daemon = host.start_command(command);
    let port = listens_on(&daemon);
    let idle: Vec<TcpStream> = (0..3 * SOFT_LIMIT).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    balancer_sees(port, "a check beside idle connections", "503", "nothing is installed");
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    eventually("a half of the descriptors is free", PATIENCE, || match open() {
        open if open < SOFT_LIMIT / 2 => Ok(()),
        open => Err(format!("{open} are open\n{}", daemon.said())),
    });
    host.deploy(&bundle(&host, "v1", ""), &[]).with_code(0);
    assert!(!daemon.said().contains("took no connection"), "{}", daemon.said());
    drop(idle);
    daemon.kill();
}

#[test]
fn a_certificate_is_checked_for_the_name_that_the_check_gives() {
    let host = Host::new();
    let server = Server::start_tls(|_| async { Reply::new(200, "well") });
    let authority = host.path("ca.pem");
    fs::write(&authority, server.certificate()).unwrap();
    let check = |tls: &str| {
        format!(
            "  health:\n    - http: {{url: '{}/', ca_file: {}{tls}}}\n      interval: 1s\n      successes: 1\n      \
             failures: 1\n      deadline: 1s\n",
            server.url(),
            authority.display()
        )
    };
    host.deploy(&bundle(&host, "v1", &check("")), &[]).with_code(0);
    host.deploy(&bundle(&host, "v2", &check(", tls_name: localhost")), &[]).with_code(0);
    let wrong = host.deploy(&bundle(&host, "v3", &check(", tls_name: web.example")), &["--no-rollback"]);
    wrong.with_code(1).saying(&["ValidateService failed", "certificate"]);
}

#[test]
fn the_hosts_own_certificate_authorities_count_where_the_check_names_none() {
    let host = Host::new();
    let server = Server::start_tls(|_| async { Reply::new(200, "well") });
    let authorities = host.path("authorities.pem");
    fs::write(&authorities, server.certificate()).unwrap();
    let check = format!(
        "  health:\n    - http: {{url: '{}/'}}\n      interval: 1s\n      successes: 1\n      failures: 1\n      deadline: 1s\n",
        server.url()
    );
    let deploy = |version: &str| {
        let directory = bundle(&host, version, &check);
        host.command(&["deploy", directory.to_str().unwrap(), "--no-rollback"])
    };
    // No authority on this machine has signed it.
    Ended::of(deploy("v1")).with_code(1).saying(&["ValidateService failed", "certificate"]);
    let mut trusting = deploy("v2");
    trusting.env("SSL_CERT_FILE", &authorities);
    Ended::of(trusting).with_code(0);
}

#[test]
fn a_check_that_nothing_answers_is_planned_and_told_before_and_at_its_deadline() {
    let host = Host::new();
    // Nothing listens to the first port.
    let port = 1;
    let check = format!(
        "  health:\n    - tcp: '127.0.0.1:{port}'\n      interval: 1s\n      deadline: 2s\n      successes: 1\n"
    );
    let bundle = bundle(&host, "v1", &check);
    let planned = format!("ValidateService: waits until the health check of 127.0.0.1:{port} succeeds, at most 2 s");
    host.ok(&["plan", bundle.to_str().unwrap()]).saying(&[&planned]);
    let failed = host.deploy(&bundle, &[]).with_code(1);
    let last = format!("not healthy within 2 s: last answer of 127.0.0.1:{port}: connection refused");
    let failed = failed.saying(&["ValidateService failed", &last]);
    let told = format!("  health check of 127.0.0.1:{port}: connection refused");
    assert_eq!(failed.out.lines().filter(|line| *line == told).count(), 1, "{}", failed.out);
}

#[test]
fn a_check_is_asked_once_an_interval() {
    let (host, application) = (Host::new(), Application::new());
    let check = format!(
        "  health:\n    - http: {{url: '{}'}}\n      interval: 1h\n      successes: 2\n      deadline: 2s\n",
        application.url()
    );
    let failed = host.deploy(&bundle(&host, "v1", &check), &[]).with_code(1);
    failed.saying(&["ValidateService failed", "not healthy within 2 s", "has not answered enough"]);
    assert_eq!(application.server.requests().len(), 1);
}

#[test]
fn a_bake_time_that_passes_ends_the_deployment_well() {
    let (host, application) = (Host::new(), Application::new());
    let deployed = host.deploy(&bundle(&host, "v1", &application.check("  bake_time: 1s\n")), &[]).with_code(0);
    assert!(application.server.requests().len() >= 2, "the checks go on in it: {}", deployed.out);
}
