//! `init`: a first appspec with its scripts, which is good and can be deployed.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::host::{Ended, HOSTLER, Host};
use crate::support::skip;

fn init(host: &Host, arguments: &[&str]) -> Ended {
    let mut command = Command::new(HOSTLER);
    command.arg("init").args(arguments).current_dir(host.path("")).stdin(Stdio::null());
    Ended::of(command)
}

#[test]
fn what_init_makes_is_good_and_can_be_deployed() {
    let host = Host::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let made = init(&host, &["web", "--check", &port]).with_code(0).saying(&[
        "made web/appspec.yml",
        "hostler deploy web",
        "start the application first",
        "hostler deploy web --root ./host ",
    ]);
    assert!(!made.out.contains("hooks/"), "{}", made.out);
    let bundle = host.path("web");
    host.ok(&["validate", bundle.to_str().unwrap(), "--deny-warnings"]);
    host.deploy(&bundle, &[]).with_code(0);
    assert!(host.at("srv/web/README.txt").exists());
}

#[test]
fn a_service_gets_its_scripts_and_the_directory_that_is_there_is_installed() {
    let host = Host::new();
    host.write("shop/dist/index.html", "hello\n");
    let flags = ["shop", "--service", "shop", "--user", "root", "--destination", "/srv/it's here"];
    init(&host, &flags).with_code(0).saying(&["made shop/hooks/stop.sh", "made shop/hooks/start.sh"]);
    let bundle = host.path("shop");
    let valid = host.ok(&["validate", bundle.to_str().unwrap(), "--deny-warnings"]);
    assert!(valid.out.contains("0 errors, 0 warnings"), "{}", valid.out);
    let start = bundle.join("hooks/start.sh");
    assert_eq!(fs::metadata(&start).unwrap().permissions().mode() & 0o111, 0o111);
    assert!(fs::read_to_string(&start).unwrap().contains("systemctl restart shop.service"));
    if nix::unistd::geteuid().is_root() {
        host.deploy(&bundle, &[]).with_code(0);
        assert_eq!(fs::read_to_string(host.at("srv/it's here/index.html")).unwrap(), "hello\n");
        let left_alone =
            format!("[stdout] below {}: shop.service of the machine is not started", host.root().display());
        assert!(host.ok(&["logs"]).out.contains(&left_alone));
    }
}

#[test]
fn nothing_is_overwritten_and_what_cannot_be_used_is_named() {
    let host = Host::new();
    let mine = host.write("web/hooks/start.sh", "mine");
    init(&host, &["web", "--service", "web"])
        .with_code(3)
        .saying(&["there is web/hooks/start.sh", "overwrites nothing"]);
    assert_eq!(fs::read_to_string(mine).unwrap(), "mine");
    assert!(!host.path("web/appspec.yml").exists(), "nothing was made");
    let hooks = host.write("shop/hooks", "a file");
    init(&host, &["shop", "--service", "shop"]).with_code(3).saying(&["shop/hooks is not a directory"]);
    assert!(!host.path("shop/appspec.yml").exists() && !host.path("shop/app").exists(), "nothing was made");
    fs::remove_file(hooks).unwrap();
    init(&host, &["shop", "--service", "shop"]).with_code(0);
    init(&host, &["web", "--destination", "srv"]).with_code(2).saying(&["an absolute path"]);
    host.write("two/a", "");
    host.write("two/b", "");
    init(&host, &["two"]).with_code(2).saying(&["which of these is installed? a, b", "--source"]);
    let json = init(&host, &["two", "--source", "a", "--json"]).with_code(0).json();
    assert_eq!(json, serde_json::json!({"version": 1, "directory": "two", "made": ["two/appspec.yml"]}));
}

#[test]
fn on_a_terminal_it_asks_for_what_is_missing() {
    let host = Host::new();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{HOSTLER} init web --user root"), "/dev/null"]).current_dir(host.path(""));
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut running) = spawned else {
        skip("script is missing (Debian package bsdutils)");
        return;
    };
    running.stdin.take().unwrap().write_all(b"srv\n/opt/shop\n-x\nshop\n8080\n").unwrap();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Into which directory of the host? [/srv/web]"), "{said}");
    assert!(!said.contains("Which user"), "{said}");
    assert!(said.contains("an absolute path, not `srv`") && said.contains("a systemd unit, not `-x`"), "{said}");
    let appspec = fs::read_to_string(host.path("web/appspec.yml")).unwrap();
    for part in ["destination: /opt/shop", "location: hooks/stop.sh", "tcp: '127.0.0.1:8080'", "owner: root"] {
        assert!(appspec.contains(part), "{part} is not in\n{appspec}");
    }
}

#[test]
fn a_file_or_a_lost_link_is_named_and_the_next_lines_can_be_pasted() {
    let host = Host::new();
    host.write("file", "");
    init(&host, &["file"]).with_code(3).saying(&["file is not a directory"]);
    init(&host, &["file/web"]).with_code(3).saying(&["file/web lies below a file"]);
    std::os::unix::fs::symlink("nowhere", host.path("link")).unwrap();
    init(&host, &["link"]).with_code(3).saying(&["link is a link to a directory that does not exist"]);
    init(&host, &["web", "--source", "nope"]).with_code(2).saying(&["the bundle has no \"nope\""]);
    init(&host, &["web", "--service=-x"]).with_code(2).saying(&["a systemd unit, not `-x`"]);
    assert!(!host.path("web").exists(), "nothing was made");
    let made = init(&host, &["dir with space", "--user", "no-such-user"]).with_code(0);
    let made = made.saying(&["warning: this machine has no user \"no-such-user\""]);
    for command in ["hostler deploy 'dir with space' ", "hostler push 'dir with space' STORE "] {
        assert!(made.out.contains(command), "{}", made.out);
    }
    assert_eq!(init(&host, &["quiet", "-q"]).with_code(0).out, "");
}

#[test]
fn in_the_bundles_own_directory_the_lines_name_a_root_outside_and_one_inside_is_refused() {
    let host = Host::new();
    let bundle = host.path("shop");
    fs::create_dir(&bundle).unwrap();
    let here = |arguments: &[&str]| {
        let mut command = Command::new(HOSTLER);
        command.args(arguments).current_dir(&bundle).stdin(Stdio::null());
        Ended::of(command)
    };
    let made = here(&["init", "."]).with_code(0).saying(&["hostler deploy . --root ../host "]);
    assert!(!made.out.contains("--root ./host"), "{}", made.out);
    for verb in [&["deploy", "."][..], &["push", ".", "../store"]] {
        here(&[verb, &["--root", "./host"]].concat()).with_code(2).saying(&[
            "lies in the bundle .",
            "--root",
            host.path("host").to_str().unwrap(),
        ]);
    }
    here(&["deploy", ".", "--root", "../host", "--state-dir", "state"]).with_code(2).saying(&["--state-dir"]);
    assert!(!bundle.join("host").exists() && !bundle.join("state").exists(), "nothing was made");
    // As the lines say, again and again.
    for _ in 0..2 {
        here(&["deploy", ".", "--root", "../host"]).with_code(0);
    }
    assert!(host.path("host/srv/shop/README.txt").exists());
}
