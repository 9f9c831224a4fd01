//! The document by which a host tells the store its revision.

use serde_json::Value;

use crate::support::eventually;
use crate::support::host::{Bundle, Host, PATIENCE, Running};
use crate::support::http_server::{Reply, Request};
use crate::support::moto::Moto;
use crate::support::s3_front::{ACCESS_KEY, BUCKET, Front, SECRET_KEY, error};

const USER: &str = "AROAEXAMPLE:i-0123456789abcdef0";

fn daemon(host: &Host, endpoint: &str, store: &str) -> Running {
    let mut command = host.command(&["run", "--channel", store, "--poll", "1s", "--instance-id", "i-1"]);
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    host.start_command(command)
}

fn s3_store() -> String {
    format!("s3://{BUCKET}/st")
}

fn s3_key() -> String {
    // The server keeps keys as written in requests.
    format!("st/shop/web/hosts/{}.json", USER.replace(':', "%3A"))
}

/// Waits until the document is as wanted.
fn document_when(what: &str, read: impl Fn() -> Option<Vec<u8>>, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || {
        let bytes = read().ok_or("no document")?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        if wanted(&document) { Ok(document) } else { Err(document.to_string()) }
    })
}

#[test]
fn a_host_says_what_it_runs_and_writes_nothing_while_nothing_changes() {
    let host = Host::new();
    let read = || std::fs::read(host.store().join("shop/web/hosts/i-1.json")).ok();
    let running = host.daemon(&["--instance-id", "i-1"]);
    let empty = document_when("a host without a deployment", read, |document| document["condition"] == "empty");
    assert_eq!(
        (&empty["version"], &empty["counter"], &empty["user"]),
        (&1.into(), &1.into(), &"i-1".into()),
        "{empty}"
    );
    assert_eq!(
        (&empty["instance_state"], &empty["application"], &empty["group"]),
        (&"in_service".into(), &"shop".into(), &"web".into())
    );
    let revision = host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let good = document_when("the revision", read, |document| document["condition"] == "good");
    assert_eq!((&good["revision"], &good["sequence"]), (&revision.as_str().into(), &1.into()), "{good}");
    assert!(good["counter"].as_u64() > empty["counter"].as_u64() && good["since_ms"].is_u64(), "{good}");
    assert_eq!(good["agent_version"], env!("CARGO_PKG_VERSION"));
    let shown = host.ok(&["status", "--json"]).json()["daemon"]["reports"][0].clone();
    assert_eq!((&shown["error"], &shown["written_ms"]), (&Value::Null, &good["written_ms"]), "{shown}");
    // An unchanged host writes nothing.
    running.kill();
    let again = host.daemon(&["--instance-id", "i-1"]);
    eventually("the document is known again", PATIENCE, || {
        let shown = host.ok(&["status", "--json"]).json()["daemon"]["reports"][0]["written_ms"].clone();
        if shown == good["written_ms"] { Ok(()) } else { Err(format!("{shown}\n{}", again.said())) }
    });
    assert_eq!(serde_json::from_slice::<Value>(&read().unwrap()).unwrap(), good);
}

#[test]
fn a_host_without_reports_writes_none() {
    let host = Host::new();
    host.configure("groups: [{application: shop, group: web, report: false}]\n");
    let _running = host.daemon(&["--instance-id", "i-1"]);
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    host.status_when("it is deployed", |status| status["condition"] == "good");
    assert!(!host.store().join("shop/web/hosts").exists());
    assert_eq!(host.ok(&["status", "--json"]).json()["daemon"]["reports"], Value::Array(Vec::new()));
}

#[test]
fn in_s3_the_document_has_the_roles_user_id_and_each_write_a_condition() {
    let (host, front) = (Host::new(), Front::start());
    front.with_sts(USER);
    // The first write's answer is lost; the agent finds out that the write happened.
    let is_report = |request: &Request| request.method == "PUT" && request.path().contains("/hosts/");
    front.then(1, is_report, Reply::lost);
    let first = daemon(&host, &front.server().url(), &s3_store());
    let read = || front.get(&s3_key());
    document_when("the document", read, |document| document["user"] == USER && document["counter"] == 1);
    first.kill();
    front.put(&s3_key(), "garbage");
    let _second = daemon(&host, &front.server().url(), &s3_store());
    document_when("the document after garbage", read, |document| document["instance"] == "i-1");
    let writes = front.objects().writes.clone();
    assert!(writes.iter().all(|(_, status)| matches!(status, 200 | 412)), "{writes:?}");
}

#[test]
fn a_store_that_takes_no_reports_is_told_of_once_and_deployments_go_on() {
    let (host, front) = (Host::new(), Front::start());
    front.with_sts(USER);
    let is_report = |request: &Request| request.method == "PUT" && request.path().contains("/hosts/");
    front.instead(usize::MAX, is_report, error(403, "AccessDenied", "Access Denied"));
    let running = daemon(&host, &front.server().url(), &s3_store());
    running.says("this host's report is not written");
    let environment = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        command.env("AWS_ENDPOINT_URL", front.server().url()).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        crate::support::host::Ended::of(command).with_code(0)
    };
    let bundle = Bundle::new(&host, "v1").app().write();
    let pushed = environment(&["push", bundle.to_str().unwrap(), &s3_store(), "--json"]).json();
    environment(&["release", &s3_store(), pushed["revision"].as_str().unwrap()]);
    host.status_when("it is deployed", |status| status["condition"] == "good");
    let shown = host.ok(&["status", "--json"]).json()["daemon"]["reports"][0].clone();
    assert!(shown["error"].as_str().is_some_and(|error| error.contains("access denied")), "{shown}");
    host.ok(&["status"]).saying(&["shop/web: this host's report is not written"]);
    assert_eq!(running.err().matches("this host's report is not written").count(), 1, "{}", running.said());
}

#[test]
fn moto_takes_the_report_too() {
    let Some(moto) = Moto::start_or_skip() else { return };
    moto.make_bucket("reports", false);
    let host = Host::new();
    let running = daemon(&host, &moto.url(), "s3://reports/st");
    let place = eventually("the report is written", PATIENCE, || {
        let shown = host.run(&["status", "--json"]);
        let shown: Value = serde_json::from_str(&shown.out).map_err(|e| format!("{e}\n{}", running.said()))?;
        let report = &shown["daemon"]["reports"][0];
        let place = report["place"].as_str().filter(|_| report["written_ms"].is_u64());
        place.map(str::to_owned).ok_or_else(|| format!("{shown}\n{}", running.said()))
    });
    let listed = moto.request("GET", "/reports?list-type=2&prefix=st/shop/web/hosts/", b"");
    let name = place.rsplit('/').next().unwrap();
    assert!(listed.contains(name), "{place}: {listed}");
}
