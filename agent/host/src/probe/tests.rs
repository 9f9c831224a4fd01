use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hostler_core::health::{HttpProbe, ProcessProbe};

use nix::unistd::Uid;

use super::*;
use crate::test_support::skip;

fn check(probe: Probe) -> Check {
    Check {
        name: "test".to_owned(),
        probe,
        interval_seconds: 1,
        timeout_seconds: 20,
        successes: 1,
        failures: 1,
        grace_seconds: 0,
        deadline_seconds: 1,
    }
}

fn ask(check: &Check, archive: Option<&Path>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Prober::new(check, archive).ask())
}

/// Answers one request and returns it.
fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..length]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, asked)
}

fn http(answer: &'static str, probe: HttpProbe) -> (Result<(), String>, String) {
    let (address, asked) = server(answer);
    let probe = HttpProbe { url: format!("http://{address}/health?x=1"), ..probe };
    let answer = ask(&check(Probe::Http(probe)), None);
    (answer, asked.join().unwrap())
}

const OK: &str = "HTTP/1.1 200 OK\r\nX-State: ready\r\nContent-Length: 11\r\n\r\nall is well";

#[test]
fn an_answer_must_have_the_status_the_headers_and_the_body() {
    let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
    let (answer, asked) = http(OK, HttpProbe { headers: pair("Host", "web.example"), ..HttpProbe::default() });
    assert_eq!(answer, Ok(()));
    assert!(asked.starts_with("GET /health?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("host: web.example\r\n"), "{asked}");
    let wants = |probe: HttpProbe| http(OK, probe).0;
    assert_eq!(wants(HttpProbe { status: Some(204), ..HttpProbe::default() }), Err("HTTP 200".to_owned()));
    assert_eq!(wants(HttpProbe { body: Some("is well".to_owned()), ..HttpProbe::default() }), Ok(()));
    let body = wants(HttpProbe { body: Some("unwell".to_owned()), ..HttpProbe::default() });
    assert_eq!(body, Err("HTTP 200, and the body does not hold \"unwell\"".to_owned()));
    assert_eq!(wants(HttpProbe { response_headers: pair("x-state", "ready"), ..HttpProbe::default() }), Ok(()));
    let header = wants(HttpProbe { response_headers: pair("x-state", "busy"), ..HttpProbe::default() });
    assert_eq!(header, Err("the header x-state is \"ready\"".to_owned()));
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(http(moved, HttpProbe::default()).0, Err("HTTP 302".to_owned()));
    assert_eq!(http(moved, HttpProbe { status: Some(302), ..HttpProbe::default() }).0, Ok(()));
}

#[test]
fn nobody_there_and_no_answer_in_time_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let http = |address: &str| Probe::Http(HttpProbe { url: format!("http://{address}/"), ..HttpProbe::default() });
    assert_eq!(ask(&check(http(&free)), None), Err("connection refused".to_owned()));
    assert_eq!(ask(&check(Probe::Tcp { address: free }), None), Err("connection refused".to_owned()));
    // It listens and does not answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    assert_eq!(ask(&check(Probe::Tcp { address: address.clone() }), None), Ok(()));
    let hasty = Check { timeout_seconds: 1, ..check(http(&address)) };
    assert_eq!(ask(&hasty, None), Err("no answer in 1 s".to_owned()));
}

#[test]
fn a_script_of_the_bundle_is_asked_by_its_exit_status() {
    let bundle = tempfile::tempdir().unwrap();
    let script = |name: &str, body: &str| {
        let path = bundle.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    script("good.sh", "test \"$(pwd -P)\" = \"$(cd \"$(dirname \"$0\")\" && pwd -P)\" && test -n \"$HOME\"");
    script("bad.sh", "exit 3");
    script("hangs.sh", "sleep 1000 & echo $! > child; wait");
    let command = |location: &str| Probe::Command { location: location.to_owned(), runas: None };
    assert_eq!(ask(&check(command("good.sh")), Some(bundle.path())), Ok(()));
    assert_eq!(ask(&check(command("bad.sh")), Some(bundle.path())), Err("exit status 3".to_owned()));
    let outside = ask(&check(command("../bad.sh")), Some(bundle.path())).unwrap_err();
    assert!(outside.contains("leads out of the bundle"), "{outside}");
    let hangs = Check { timeout_seconds: 1, ..check(command("hangs.sh")) };
    assert_eq!(ask(&hangs, Some(bundle.path())), Err("no answer in 1 s".to_owned()));
    let child = std::fs::read_to_string(bundle.path().join("child")).unwrap();
    let runs = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).is_ok_and(|s| !s.contains(") Z "));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while runs() {
        assert!(std::time::Instant::now() < until, "what the script started still runs");
        std::thread::yield_now();
    }
}

/// A script that reports traces of the agent in its own process.
fn surroundings(body: &str) -> Result<(), String> {
    let bundle = tempfile::tempdir().unwrap();
    let path = bundle.path().join("look.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    ask(&check(Probe::Command { location: "look.sh".to_owned(), runas: None }), Some(bundle.path()))
}

#[test]
fn a_script_gets_nothing_of_the_agents() {
    // A descriptor without close-on-exec, such as an inherited one.
    let leaked = nix::unistd::dup(std::fs::File::open("/etc/passwd").unwrap()).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
    assert_eq!(surroundings(&format!("test ! -e /proc/$$/fd/{number}")), Ok(()));
    // Nextest sets variables for the tests; a probe gets only the user's, and the host's locale.
    let names =
        "env | cut -d= -f1 | grep -vxE 'PATH|HOME|SHELL|USER|LOGNAME|PWD|OLDPWD|SHLVL|LANG|LANGUAGE|LC_[A-Z]+|_'";
    assert!(std::env::vars().count() > 5, "there is something to inherit");
    assert_eq!(surroundings(&format!("! {names}")), Ok(()));
    assert_eq!(surroundings("test \"$(umask)\" = 0022"), Ok(()));
    assert_eq!(surroundings("test \"$(cat /proc/$$/oom_score_adj)\" = 0"), Ok(()));
    let (files, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(surroundings(&format!("test \"$(ulimit -Sn)\" = {files}")), Ok(()), "as many open files as the agent");
    assert_eq!(surroundings("test \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$"), Ok(()), "a process group of its own");
}

#[test]
fn a_script_runs_as_its_user() {
    if !Uid::effective().is_root() {
        skip("running as another user needs root");
        return;
    }
    let runas = |name: &str| Probe::Command { location: "/bin/sh".to_owned(), runas: Some(name.to_owned()) };
    assert_eq!(ask(&check(runas("65534")), None), Ok(()));
    assert!(ask(&check(runas("no-such-user")), None).unwrap_err().contains("no-such-user"));
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("who.sh");
    std::fs::write(&script, "#!/bin/sh\ntest \"$(id -u):$(id -G)\" = 65534:65534\n").unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let location = script.to_str().unwrap().to_owned();
    assert_eq!(
        ask(&check(Probe::Command { location: location.clone(), runas: Some("65534".to_owned()) }), None),
        Ok(())
    );
    assert_eq!(ask(&check(Probe::Command { location, runas: None }), None), Err("exit status 1".to_owned()));
}

#[test]
fn a_process_is_found_by_its_program_and_by_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("hostler-probe-test-program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut child = std::process::Command::new(&program).arg("1000").spawn().unwrap();
    let file = directory.path().join("pid");
    std::fs::write(&file, format!("{}\n", child.id())).unwrap();
    let name = check(Probe::Process(ProcessProbe::Name("hostler-probe-test-program".to_owned())));
    let pid = check(Probe::Process(ProcessProbe::PidFile(file.to_str().unwrap().to_owned())));
    assert_eq!((ask(&name, None), ask(&pid, None)), (Ok(()), Ok(())));
    child.kill().unwrap();
    // It is a zombie until it is waited for, and that is not running.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while ask(&pid, None).is_ok() {
        assert!(std::time::Instant::now() < until, "a process that was killed runs on");
    }
    child.wait().unwrap();
    assert_eq!(ask(&pid, None), Err(format!("process {} does not run", child.id())));
    assert_eq!(ask(&name, None), Err("no process executes hostler-probe-test-program".to_owned()));
}
