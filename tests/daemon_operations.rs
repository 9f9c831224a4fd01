//! The daemon beside others on its host: metrics and health, a reload, a quick end, polls that cost nothing, and the
//! messages to systemd.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;

use nix::fcntl::FallocateFlags;
use nix::sys::signal::Signal;

use crate::support::host::{Bundle, Host, Mount, PATIENCE, Running, hook_lines_of, root_or_skip};
use crate::support::{eventually, tool_or_skip};

fn socket(host: &Host) -> PathBuf {
    host.at("run/hostler/hostler.sock")
}

fn lines_with(daemon: &Running, text: &str) -> Vec<String> {
    daemon.err().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Sends an HTTP request to the daemon's socket, as a collector does; returns the whole answer.
fn http(host: &Host, request: &str) -> String {
    let mut stream = UnixStream::connect(socket(host)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_and_health_are_shown_to_everyone_and_over_http() {
    let host = Host::new();
    let daemon = host.daemon(&[]);
    host.release(&Bundle::new(&host, "v1").app().all_hooks().write(), &[]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good");
    let of_group = r#"{application="shop",group="web""#;
    let wanted = [
        format!("hostler_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION")),
        format!("hostler_deployments_total{of_group},outcome=\"succeeded\"}} 1\n"),
        format!("hostler_release_sequence{of_group}}} 1\n"),
        format!("hostler_channel_errors_total{of_group}}} 0\n"),
        format!("hostler_event_duration_seconds{of_group},event=\"Install\"}} 0."),
        format!("hostler_channel_last_success_timestamp_seconds{of_group}}} "),
        "# EOF\n".to_owned(),
    ];
    let printed = host.ok(&["status", "--metrics"]).out;
    let headers = "Host: localhost\r\nUser-Agent: collector\r\nAccept: */*\r\n";
    let scraped = http(&host, &format!("GET /metrics HTTP/1.1\r\n{headers}\r\n"));
    for line in &wanted {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
        assert!(scraped.contains(line), "{line} is not in\n{scraped}");
    }
    let (head, body) = scraped.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(http(&host, "GET /health HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
    assert!(http(&host, "GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(http(&host, "POST /stop HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));

    host.ok(&["status", "--health"]).saying(&["ok"]);
    let bad = Bundle::new(&host, "v2").app().hook("AfterInstall", "exit 1").write();
    host.deploy(&bad, &["--no-rollback"]).with_code(1);
    let health = host.run(&["status", "--health", "--json"]).with_code(1).json();
    assert_eq!(
        (&health["healthy"], &health["problems"][0]),
        (&false.into(), &"shop/web: the last deployment failed".into())
    );
    let unhealthy = http(&host, "GET /health HTTP/1.1\r\n\r\n");
    assert!(unhealthy.starts_with("HTTP/1.1 503 ") && unhealthy.contains("last deployment failed"), "{unhealthy}");
    host.ok(&["status", "--metrics"]).saying(&[&format!("hostler_group_failed{of_group}}} 1")]);
    drop(daemon);
    host.run(&["status", "--metrics"]).with_code(3).saying(&["no daemon runs"]);
    host.run(&["status", "--health"]).with_code(1).saying(&["no daemon runs"]);
}

#[test]
fn a_configuration_is_read_again_whole_or_not_at_all() {
    let host = Host::new();
    let (store, other_store) = (host.store(), host.path("other-store"));
    fs::create_dir(&other_store).unwrap();
    let one = |group: &str, store: &PathBuf, more: &str| {
        format!("  - {{application: shop, group: {group}, channel: {}{more}}}\n", store.display())
    };
    let web = one("web", &store, ", rollback: false");
    host.configure(&format!("poll: 1s\ngroups:\n{web}"));
    let daemon = host.start(&["run"]);
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good");
    let channels = || {
        let document = host.ok(&["status", "--json"]).json();
        let channels = document["daemon"]["channels"].as_array().unwrap().clone();
        channels
            .iter()
            .map(|c| format!("{} {}", c["group"].as_str().unwrap(), c["channel"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(channels(), [format!("web {}", store.display())]);

    // Invalid: the command and the log show the place, and the old configuration stays in force.
    host.configure(&format!("poll: 1s\ngroups:\n{web}{}", one("other", &store, ", pol: 3s")));
    let refused = |records: usize| {
        eventually("the record of the refused configuration", PATIENCE, || {
            let read = lines_with(&daemon, "is refused, the one before stays in force").len();
            if read == records { Ok(()) } else { Err(daemon.err()) }
        });
    };
    host.run(&["reload"]).with_code(2).saying(&["config.yaml:4", "`poll`"]);
    refused(1);
    daemon.signal(Signal::SIGHUP);
    refused(2);
    daemon.says("config.yaml:4");
    assert_eq!(channels(), [format!("web {}", store.display())]);
    host.configure(&format!("instance_id: i-2\npoll: 1s\ngroups:\n{web}"));
    host.run(&["reload"]).with_code(2).saying(&["instance_id was changed", "restart"]);

    // Added and changed.
    let added = one("other", &other_store, "");
    host.configure(&format!("poll: 1s\ngroups:\n{web}{added}"));
    host.ok(&["reload"]);
    assert_eq!(channels(), [format!("other {}", other_store.display()), format!("web {}", store.display())]);
    let web = one("web", &store, ", rollback: true, max_revisions: 2");
    host.configure(&format!("poll: 1s\ngroups:\n{web}{added}"));
    daemon.signal(Signal::SIGHUP);
    eventually("the configuration is read again", PATIENCE, || {
        let read = lines_with(&daemon, "the configuration was read again: ").len();
        if read == 2 { Ok(()) } else { Err(daemon.err()) }
    });
    host.release(&Bundle::new(&host, "v2").app().write(), &[]);
    host.status_when("release 2 is deployed", |s| s["condition"] == "good" && s["highest_sequence"] == 2);
    let bad = Bundle::new(&host, "v3").app().hook("AfterInstall", "exit 1").write();
    host.deploy(&bad, &[]).with_code(1).saying(&["returning to the last good revision"]);
    // Removed.
    host.configure(&format!("groups:\n{added}"));
    host.ok(&["reload"]);
    assert_eq!(channels(), [format!("other {}", other_store.display())]);
    assert_eq!(host.version(), "v2", "what is installed stays");
    host.ok(&["stop"]);
    daemon.end().with_code(0);
    host.run(&["reload"]).with_code(3).saying(&["no daemon runs"]);
    // Without a daemon, `status` says what keeps one from running.
    host.ok(&["status"]).saying(&["no daemon runs"]);
    host.configure("pol: 1s\n");
    let said =
        host.run(&["status"]).with_code(1).saying(&["error: no daemon runs: ", "`pol` is not a key", "hostler doctor"]);
    assert!(said.out.contains("shop/web"), "{said:?}");
}

#[test]
fn a_second_signal_hurries_and_the_step_is_taken_up_by_the_next_start() {
    if !tool_or_skip("strace") {
        return;
    }
    let host = Host::new();
    // The first sync of the disk takes hours, and its step does not end before.
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:delay_enter=9000s", "--"]);
    let untraced = host.command(&["run"]);
    traced.arg(untraced.get_program()).args(untraced.get_args()).stdin(std::process::Stdio::null());
    let tracer = host.start_command(traced);
    let document = eventually("the daemon listens on its control socket", PATIENCE, || {
        match host.ok(&["status", "--json"]).json() {
            document if !document["daemon"].is_null() => Ok(document),
            _ => Err(tracer.said()),
        }
    });
    let pid = nix::unistd::Pid::from_raw(document["daemon"]["pid"].as_i64().unwrap().try_into().unwrap());
    let bundle = Bundle::new(&host, "v1").app().all_hooks().write();
    let deploy = host.start(&["deploy", bundle.to_str().unwrap()]);
    host.status_when("the deployment goes on", |s| !s["active"].is_null());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    tracer.says("hostler stops");
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    tracer.says("told twice to stop");
    // The tracer cannot end the process that it holds.
    tracer.kill();
    eventually("the daemon ends", PATIENCE, || {
        if std::path::Path::new(&format!("/proc/{pid}")).exists() { Err("it lives".to_owned()) } else { Ok(()) }
    });
    deploy.end().with_code(1).saying(&["it goes on at the next start"]);
    let _again = host.daemon(&[]);
    host.status_when("it is taken up again", |s| s["condition"] == "good");
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
}

/// Polls of the channel since the daemon started.
fn looks(host: &Host) -> u64 {
    let document = host.ok(&["status", "--json"]).json();
    document["daemon"]["channels"][0]["polls"].as_u64().unwrap_or_default()
}

#[test]
fn a_look_that_finds_nothing_new_writes_nothing() {
    if !tool_or_skip("strace") {
        return;
    }
    let host = Host::new();
    host.release(&Bundle::new(&host, "v1").app().write(), &[]);
    let daemon = host.daemon(&[]);
    host.status_when("release 1 is deployed", |s| s["condition"] == "good");
    // The poll after the deployment is the first that finds nothing new.
    let settled = looks(&host);
    eventually("it was looked once more", PATIENCE, || {
        if looks(&host) > settled { Ok(()) } else { Err("no look".to_owned()) }
    });
    let log = host.path("calls");
    let mut traced = std::process::Command::new("strace");
    let calls =
        "trace=fsync,fdatasync,syncfs,sync_file_range,msync,sync,pwrite64,ftruncate,rename,renameat2,unlink,openat";
    traced.args(["-f", "-qq", "-y", "-e", calls, "-o"]).arg(&log).args(["-p", &daemon.pid().to_string()]);
    let tracer = host.start_command(traced);
    let said = daemon.err();
    let before = looks(&host);
    eventually("it has looked three times more", PATIENCE, || match looks(&host) {
        now if now >= before + 3 => Ok(()),
        now => Err(format!("{now}: {}", tracer.said())),
    });
    tracer.signal(Signal::SIGINT);
    tracer.end();
    let calls = fs::read_to_string(&log).unwrap();
    let looked = calls.lines().filter(|call| call.contains("release.json")).count();
    assert!(looked >= 3, "it was traced: {calls}");
    // The daemon looks up a connecting user in the user database; everything else only reads the store.
    let writes: Vec<&str> = calls
        .lines()
        .filter(|call| {
            !call.contains("openat") || call.contains("O_WRONLY") || call.contains("O_RDWR") || call.contains("O_CREAT")
        })
        .collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(daemon.err(), said, "nothing is logged");
}

/// All messages to systemd until a message has this text, including that one.
fn heard(systemd: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let count = systemd.recv(&mut bytes).unwrap_or_else(|e| panic!("{e}: {wanted:?} is not in {messages:#?}"));
        messages.push(String::from_utf8(bytes[..count].to_vec()).unwrap());
        if messages.last().unwrap().contains(wanted) {
            return messages;
        }
    }
}

#[test]
fn systemd_is_told_what_goes_on() {
    let host = Host::new();
    let path = host.path("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    host.configure("poll: 1h\n");
    let mut command = host.command(&["run"]);
    // Half of the interval passes before the second notification, as nothing else wakes the daemon up.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let daemon = host.start_command(command);
    heard(&systemd, "READY=1");
    heard(&systemd, "STATUS=nothing was deployed on this host");
    heard(&systemd, "WATCHDOG=1");
    heard(&systemd, "WATCHDOG=1");
    daemon.signal(Signal::SIGHUP);
    let reloading = heard(&systemd, "RELOADING=1").pop().unwrap();
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("one message");
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    heard(&systemd, "READY=1");
    let bundle = Bundle::new(&host, "v1").app().write();
    host.deploy(&bundle, &[]).with_code(0);
    heard(&systemd, "STATUS=shop/web: deploying");
    heard(&systemd, "STATUS=shop/web: good");
    daemon.signal(Signal::SIGTERM);
    heard(&systemd, "STOPPING=1");
    daemon.end().with_code(0);
}

/// The records that operators alert on when the disk below a host breaks.
#[test]
fn a_state_that_cannot_be_kept_ends_the_daemon_and_says_so() {
    if !root_or_skip("mounting") {
        return;
    }
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let Some(mount) = Mount::tmpfs(&host.state(), 32 << 20) else { return };
    let daemon = host.daemon(&[]);
    // The ledger has its space from the start, so that a full disk does not matter; a disk that loses blocks does.
    let ledger = fs::File::options().write(true).open(host.state().join("ledger")).unwrap();
    let length = ledger.metadata().unwrap().len().cast_signed();
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&ledger, punch, 0, length).unwrap();
    mount.leave_free(0);
    host.release(&bundle, &[]);
    let ended = daemon.end().with_code(1);
    let lines: Vec<&str> = ended.err.lines().filter(|line| line.contains("the state cannot be kept: ")).collect();
    assert_eq!(lines.len(), 1, "{ended:?}");
    assert!(lines[0].contains(" error the state cannot be kept: "), "{}", lines[0]);
    assert_eq!(host.version(), "", "nothing that is not in the ledger was begun");
}
