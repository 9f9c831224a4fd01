//! `hostler doctor`: each fault of a set-up has its code, even beside other faults, and every code is documented.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hostler_core::doctor::{Code, Finding, Report, Severity};
use hostler_core::operator_events::OperatorEvent;
use jiff::Timestamp;

use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Host, PATIENCE, Running};
use crate::support::http_server::{Reply, Request, Server};
use crate::support::imds::{Fault, Imds};
use crate::support::s3_front::{ACCESS_KEY, BUCKET, Front, SECRET_KEY, error};

const PAGE: &str = include_str!("../docs/usage/troubleshooting.md");

/// The rows of the table in docs/usage/troubleshooting.md whose header begins with `head`: the cells, without the marks
/// of code.
fn table(head: &str) -> Vec<Vec<String>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

#[test]
fn every_code_is_documented_with_the_severities_that_it_can_have() {
    let rows = table("| code | severities |");
    let documented: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_record_that_operators_alert_on_is_documented() {
    let rows = table("| HOSTLER_EVENT | MESSAGE_ID |");
    let documented: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let known: Vec<(&str, &str)> =
        OperatorEvent::ALL.iter().map(|record| (record.name(), record.message_id())).collect();
    assert_eq!(documented, known);
}

/// Runs the doctor, and checks each finding against the table.
fn examine(command: Command) -> (Ended, Report) {
    let ended = Ended::of(command);
    let report: Report = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    assert_eq!(report.version, 1);
    assert_eq!(ended.code, Some(if report.is_good() { 0 } else { 1 }), "{report:?}");
    let allowed: BTreeMap<String, String> =
        table("| code | severities |").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    for finding in &report.findings {
        let severity = finding.severity.word().to_lowercase();
        let documented = allowed[finding.code.name()].split(", ").any(|word| word == severity);
        assert!(documented, "{finding:?} has a severity that docs/usage/troubleshooting.md does not name");
        assert_eq!(finding.remedy.is_some(), finding.severity >= Severity::Warning, "{finding:?}");
    }
    (ended, report)
}

fn doctor(host: &Host) -> Command {
    host.command(&["doctor", "--json"])
}

#[track_caller]
fn finding(report: &Report, code: Code) -> Finding {
    report
        .findings
        .iter()
        .find(|finding| finding.code == code)
        .unwrap_or_else(|| panic!("no {code:?} in {report:#?}"))
        .clone()
}

#[track_caller]
fn found(report: &Report, code: Code, severity: Severity, text: &str) {
    let finding = finding(report, code);
    assert!(finding.severity == severity && finding.message.contains(text), "{finding:?}");
}

#[test]
fn taking_unsafe_paths_is_a_warning_as_long_as_it_is_set() {
    let host = Host::new();
    let with = |text: &str| {
        host.configure(text);
        examine(doctor(&host)).1
    };
    found(&with("unsafe_paths: warn\n"), Code::UnsafePathsWarn, Severity::Warning, "unsafe_paths: warn is set");
    let refused = with("unsafe_paths: refuse\n");
    assert!(refused.findings.iter().all(|finding| finding.code != Code::UnsafePathsWarn), "{refused:#?}");
}

#[test]
fn a_host_that_was_never_used_is_good_and_stays_untouched() {
    let host = Host::new();
    let (_, report) = examine(doctor(&host));
    found(&report, Code::Configuration, Severity::Info, "no groups");
    found(&report, Code::StateDirectory, Severity::Info, "does not exist");
    found(&report, Code::Daemon, Severity::Info, "no daemon");
    found(&report, Code::Identity, Severity::Ok, "this host is");
    assert!(
        report.findings.iter().all(|f| !f.code.name().starts_with("imds") && f.code != Code::Credentials),
        "{report:?}"
    );
    assert_eq!(fs::read_dir(host.root()).unwrap().count(), 0, "nothing was made");
    // For people: one line each, with the advice below it, and the total.
    host.configure("groups: [{application: shop, group: web, channel: /not/there}]\n");
    let said = host.run(&["doctor"]).with_code(1);
    assert!(said.out.contains("ERROR    store-reachable     shop/web:"), "{}", said.out);
    assert!(said.out.contains("-> correct the group's channel"), "{}", said.out);
    // The machine below it may have its own warnings.
    assert!(said.out.lines().last().unwrap().starts_with("1 error, "), "{}", said.out);
}

#[test]
fn one_fault_hides_no_other_and_a_daemon_is_no_obstacle() {
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    host.configure(&format!("groups: [{{application: shop, group: web, channel: {}}}]\n", host.store().display()));
    let (_, report) = examine(doctor(&host));
    found(&report, Code::StoreReachable, Severity::Ok, "directory");
    found(&report, Code::StoreRead, Severity::Ok, "can be read");
    found(&report, Code::SignaturePolicy, Severity::Info, "no keys are configured");
    found(&report, Code::StoreConditions, Severity::Info, "--write");
    let mut writes = doctor(&host);
    writes.arg("--write");
    found(&examine(writes).1, Code::StoreConditions, Severity::Ok, "keeps the conditions");
    assert!(
        !host.store().join("scratch").read_dir().is_ok_and(|mut left| left.next().is_some()),
        "scratch objects are deleted"
    );

    let daemon = host.daemon(&[]);
    host.status_when("the release is deployed", |s| s["condition"] == "good");
    let (_, report) = examine(doctor(&host));
    found(&report, Code::Daemon, Severity::Ok, &format!("pid {}", daemon.pid()));
    found(&report, Code::Ledger, Severity::Ok, "1 group is known");
    assert!(report.findings.iter().all(|f| f.code != Code::StateLock), "{report:?}");
    let bad = Bundle::new(&host, "v2").app().hook("AfterInstall", "exit 1").write();
    host.deploy(&bad, &["--no-rollback"]).with_code(1);
    found(&examine(doctor(&host)).1, Code::Daemon, Severity::Warning, "last deployment failed");

    host.configure("groups: [{application: shop, grup: web}]\n");
    fs::set_permissions(host.state(), fs::Permissions::from_mode(0o777)).unwrap();
    let (ended, report) = examine(doctor(&host));
    found(&report, Code::Configuration, Severity::Error, "`grup`");
    found(&report, Code::StateDirectory, Severity::Error, "written by others");
    found(&report, Code::Daemon, Severity::Warning, "last deployment failed");
    assert_eq!(ended.code, Some(1));
    fs::set_permissions(host.state(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(daemon);
    fs::remove_file(host.at("etc/hostler/config.yaml")).unwrap();
    found(&examine(doctor(&host)).1, Code::StateLock, Severity::Ok, "no process holds the state");
    let mut ledger = fs::read(host.state().join("ledger")).unwrap();
    ledger.truncate(100);
    fs::write(host.state().join("ledger"), ledger).unwrap();
    found(&examine(doctor(&host)).1, Code::Ledger, Severity::Error, "damaged");
}

#[test]
fn a_release_that_the_configured_keys_did_not_sign_is_found() {
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let channel = format!("groups: [{{application: shop, group: web, channel: {}}}]\n", host.store().display());
    let made = host.command(&["keygen", "ci"]).current_dir(host.path("")).output().unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    let keys = said.split_once("signatures:").unwrap_or_else(|| panic!("{said}")).1;
    host.configure(&format!("{channel}signatures:{keys}"));
    let (_, report) = examine(doctor(&host));
    found(&report, Code::SignaturePolicy, Severity::Error, "release.json");
    found(&report, Code::StoreRead, Severity::Ok, "can be read");
}

#[test]
fn a_small_disk_is_found() {
    if !crate::support::host::root_or_skip("mounting") {
        return;
    }
    let host = Host::new();
    let Some(mount) = crate::support::host::Mount::tmpfs(&host.state(), 80 << 20) else { return };
    found(&examine(doctor(&host)).1, Code::DiskSpace, Severity::Ok, "of 80 MiB free");
    mount.leave_free(10 << 20);
    found(&examine(doctor(&host)).1, Code::DiskSpace, Severity::Error, "of 80 MiB free");
}

#[test]
fn each_fault_of_the_metadata_service_has_its_code() {
    let host = Host::new();
    let service = Imds::start("i-0123456789abcdef0");
    let ask = |fault: Option<Fault>| {
        service.change(|instance| instance.fault = fault);
        let mut command = doctor(&host);
        // A proxy from the environment must not be used; this one would be a closed port.
        command.envs([("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")]);
        examine({
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url());
            command
        })
        .1
    };
    let good = ask(None);
    found(&good, Code::ImdsAnswers, Severity::Ok, "t3.micro in eu-central-1a; tags are not shown");
    found(&good, Code::Identity, Severity::Ok, "i-0123456789abcdef0");
    service.change(|instance| {
        instance.tags = Some([("Name".to_owned(), "web".to_owned())].into());
        instance.target_state = Some("InService".to_owned());
    });
    found(
        &ask(None),
        Code::ImdsAnswers,
        Severity::Ok,
        "tags that are shown: 1; its Auto Scaling group takes it to InService",
    );
    for (fault, code) in [
        (Fault::TokenUnanswered, Code::ImdsHopLimit),
        (Fault::NoTokens, Code::ImdsVersionOne),
        (Fault::Throttle(99), Code::ImdsSlow),
        (Fault::SwitchedOff, Code::ImdsRefused),
        (Fault::ErrorPage(99), Code::ImdsWrong),
        (Fault::Portal, Code::ImdsWrong),
    ] {
        let report = ask(Some(fault));
        found(&report, code, Severity::Error, "");
        found(&report, Code::Identity, Severity::Error, "not known which host");
    }
    let mut nobody = doctor(&host);
    nobody.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    found(&examine(nobody).1, Code::ImdsUnreachable, Severity::Error, "refused");
}

fn s3_host() -> Host {
    let host = Host::new();
    host.configure(&format!("groups: [{{application: shop, group: web, channel: s3://{BUCKET}/st}}]\n"));
    host
}

/// The program with a bucket, and with credentials from its environment.
fn on_s3(host: &Host, front: &Front, arguments: &[&str]) -> Command {
    let mut command = host.command(arguments);
    command.envs([("AWS_ENDPOINT_URL", front.server().url().as_str()), ("AWS_REGION", "us-east-1")]);
    command.envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

fn lists(request: &Request) -> bool {
    request.query().contains("list-type=2")
}

fn reads(request: &Request) -> bool {
    request.method == "GET" && !lists(request)
}

#[test]
fn what_s3_allows_is_tried() {
    let (host, front) = (s3_host(), Front::start());
    let look = |arguments: &[&str]| examine(on_s3(&host, &front, &[&["doctor", "--json"], arguments].concat())).1;
    let report = look(&[]);
    found(&report, Code::Credentials, Severity::Ok, &format!("access key {ACCESS_KEY} from Environment"));
    found(&report, Code::ClockSkew, Severity::Ok, "");
    found(&report, Code::StoreList, Severity::Ok, "may be listed");
    found(&report, Code::StoreRegion, Severity::Ok, "");
    found(&report, Code::StoreRead, Severity::Warning, "nothing was released yet");
    assert_eq!(front.objects().writes.len(), 0, "it writes nothing by itself");
    let secret = serde_json::to_string(&report).unwrap();
    assert!(!secret.contains(SECRET_KEY), "{secret}");

    front.put("st/shop/web/release.json", "{}");
    found(&look(&[]), Code::StoreRead, Severity::Ok, "can be read");
    found(&look(&["--write"]), Code::StoreConditions, Severity::Ok, "keeps the conditions");
    assert_eq!(front.objects().keys(), ["st/shop/web/release.json"]);
    front.objects().ignores_conditions = true;
    found(&look(&["--write"]), Code::StoreConditions, Severity::Error, "ignores conditions");
    front.objects().ignores_conditions = false;

    front.objects().region = Some("eu-west-1".to_owned());
    found(&look(&[]), Code::StoreRegion, Severity::Info, "eu-west-1");
    front.objects().region = None;

    let denied = || error(403, "AccessDenied", "Access Denied");
    front.instead(99, lists, denied());
    let report = look(&[]);
    found(&report, Code::StoreList, Severity::Warning, "looks like one that is forbidden");
    assert!(
        finding(&report, Code::StoreList).remedy.unwrap().contains(&format!("arn:aws:s3:::{BUCKET}")),
        "{report:?}"
    );
    found(&report, Code::StoreRead, Severity::Ok, "");
    front.forget_faults();
    front.instead(99, reads, denied());
    let report = look(&[]);
    found(&report, Code::StoreRead, Severity::Error, "s3:GetObject");
    found(&report, Code::StoreList, Severity::Ok, "");
    front.forget_faults();

    let date = |seconds: i64| {
        let time = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
    };
    for (seconds, severity) in [(-600, Severity::Warning), (7200, Severity::Error)] {
        let at = date(seconds);
        front.then(99, lists, move |reply| reply.header("date", at.clone()));
        found(&look(&[]), Code::ClockSkew, severity, if seconds < 0 { "ahead of" } else { "behind" });
        front.forget_faults();
    }
    drop(front);
    let gone = Front::start();
    let url = gone.server().url();
    drop(gone);
    let mut command = host.command(&["doctor", "--json"]);
    command.envs([
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    command.env("AWS_MAX_ATTEMPTS", "1");
    let report = examine(command).1;
    found(&report, Code::Credentials, Severity::Error, "there are none");
    assert!(report.findings.iter().all(|f| f.code != Code::ClockSkew), "{report:?}");
}

#[test]
fn a_role_that_is_attached_late_is_noticed() {
    let (host, front) = (s3_host(), Front::start());
    let service = Imds::start("i-0123456789abcdef0");
    let with_role = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        command
            .envs([("AWS_ENDPOINT_URL", front.server().url()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url())]);
        command
    };
    let (_, report) = examine(with_role(&["doctor", "--json"]));
    found(&report, Code::Credentials, Severity::Error, "there are none");
    let daemon: Running = host.start_command(with_role(&["run", "--poll", "1s"]));
    daemon.says("the channel is not followed");
    let health = || host.run(&["status", "--json"]).json()["daemon"]["channels"][0].clone();
    eventually("several looks have failed", PATIENCE, || {
        if health()["errors"].as_u64() > Some(2) { Ok(()) } else { Err(health().to_string()) }
    });
    service.change(|instance| instance.role = Some("web".to_owned()));
    daemon.says("the channel can be read again");
    assert!(health()["error"].is_null(), "{}", health());
    // Logged once, although every answer of AWS has its own request id.
    assert_eq!(daemon.err().matches("the channel is not followed").count(), 1, "{}", daemon.err());
    let (_, report) = examine(with_role(&["doctor", "--json"]));
    found(&report, Code::Credentials, Severity::Ok, "expire at 20");
}

#[test]
fn the_wake_up_queue_is_tried_and_nothing_is_taken_from_it() {
    let host = Host::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, refuses) = (Arc::clone(&asked), Arc::new(AtomicBool::new(false)));
    let refusing = Arc::clone(&refuses);
    let queue = Server::start(move |request| {
        let operation = request.header("x-amz-target").to_owned();
        seen.lock().unwrap().push((operation.clone(), String::from_utf8_lossy(&request.body).into_owned()));
        let reply = match operation.as_str() {
            "AmazonSQS.DeleteMessageBatch" if refusing.load(Ordering::SeqCst) => {
                Reply::new(400, r#"{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"no"}"#)
            }
            "AmazonSQS.DeleteMessageBatch" => Reply::new(
                200,
                r#"{"Successful":[],"Failed":[{"Id":"0","Code":"ReceiptHandleIsInvalid","SenderFault":true}]}"#,
            ),
            _ => Reply::new(200, r#"{"Messages":[{"Body":"x","ReceiptHandle":"real"}]}"#),
        };
        async move { reply }
    });
    let url = format!("{}/111122223333/q", queue.url());
    host.configure(&format!("groups: [{{application: shop, group: web, wake_up_queue: '{url}'}}]\n"));
    let look = || {
        let mut command = doctor(&host);
        command.envs([("AWS_ENDPOINT_URL", queue.url().as_str()), ("AWS_REGION", "us-east-1")]);
        command.envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        examine(command).1
    };
    found(&look(), Code::WakeUpQueue, Severity::Ok, &url);
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert!(asked[0].1.contains(r#""VisibilityTimeout":0"#), "the message stays visible: {asked:?}");
    assert!(asked.iter().all(|(_, body)| !body.contains("real")), "{asked:?}");
    refuses.store(true, Ordering::SeqCst);
    found(&look(), Code::WakeUpQueue, Severity::Error, "sqs:DeleteMessage");
}

#[test]
fn the_bundle_that_is_released_is_looked_at_too() {
    let (host, front) = (s3_host(), Front::start());
    let directory = Bundle::new(&host, "v1").app().write();
    let store = format!("s3://{BUCKET}/st");
    let run = |arguments: &[&str]| Ended::of(on_s3(&host, &front, arguments)).with_code(0);
    let revision = run(&["push", directory.to_str().unwrap(), &store]).out.trim().to_owned();
    run(&["release", &store, &revision]);
    let of_bundle = || {
        let report = examine(on_s3(&host, &front, &["doctor", "--json"])).1;
        let about = |f: &&Finding| f.code == Code::StoreRead && f.message.contains("/revisions/");
        let found = report.findings.iter().find(about).unwrap_or_else(|| panic!("{report:#?}"));
        (found.severity, format!("{} {}", found.message, found.remedy.as_deref().unwrap_or_default()))
    };
    assert_eq!(of_bundle().0, Severity::Ok);
    // A role that may read releases but not bundles.
    let looks = |request: &Request| request.method == "HEAD" && request.path().contains("/revisions/");
    front.instead(99, looks, Reply::new(403, ""));
    let (severity, said) = of_bundle();
    assert!(severity == Severity::Error && said.contains("allow s3:GetObject"), "{said}");
    front.forget_faults();
    let key = format!("st/revisions/{}", revision.trim_start_matches("sha256:"));
    front.put(&key, "another one");
    assert!(of_bundle().1.contains("has 11 bytes and should have"), "{:?}", of_bundle());
    front.instead(99, looks, Reply::new(404, ""));
    assert!(of_bundle().1.contains("does not exist push the bundle again"), "{:?}", of_bundle());
}

#[test]
fn the_daemons_own_credentials_are_tried_where_the_caller_has_none() {
    let (host, front) = (s3_host(), Front::start());
    let _daemon = host.start_command(on_s3(&host, &front, &["run"]));
    eventually("the daemon answers", PATIENCE, || {
        let status = host.run(&["status", "--json"]).out;
        if status.contains("\"pid\":") { Ok(()) } else { Err(status) }
    });
    // Not every variable of AWS makes the caller's environment the one to ask about.
    let mut without_credentials = doctor(&host);
    without_credentials.env("AWS_PAGER", "cat");
    let (_, report) = examine(without_credentials);
    let of_daemon = format!("access key {ACCESS_KEY} from EnvironmentVariable of the daemon (pid ");
    found(&report, Code::Credentials, Severity::Ok, &of_daemon);
    found(&report, Code::StoreList, Severity::Ok, "may be listed");
    // A caller with credentials asks about these.
    let (_, own) = examine(on_s3(&host, &front, &["doctor", "--json"]));
    assert!(!finding(&own, Code::Credentials).message.contains("of the daemon"), "{own:#?}");
}
