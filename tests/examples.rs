//! The bundles in `hooks-examples`: all files that their appspec names exist, and their scripts work.

mod deployed;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::machine::{Layout, Machine};

fn bundles() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hooks-examples");
    let entries = fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// The values that an appspec gives to a key, by lines. Other tests cover the real parser.
fn values(appspec: &str, key: &str) -> BTreeSet<String> {
    let value = |line: &str| line.trim_start_matches([' ', '-']).strip_prefix(key).map(|v| v.trim().to_owned());
    appspec.lines().filter_map(value).collect()
}

fn files_in(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_script_and_source_is_there_and_used() {
    assert_eq!(bundles().len(), 8, "{:?}", bundles());
    for bundle in bundles() {
        let appspec = fs::read_to_string(bundle.join("appspec.yml")).unwrap();
        let scripts: BTreeSet<_> = values(&appspec, "location:").iter().map(|place| bundle.join(place)).collect();
        assert_eq!(scripts, files_in(&bundle.join("hooks")));
        for script in scripts {
            let mode = fs::metadata(&script).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{} is not executable", script.display());
            let syntax = Command::new("sh").arg("-n").arg(&script).output().unwrap();
            assert!(syntax.status.success(), "{}", String::from_utf8_lossy(&syntax.stderr));
        }
        for source in values(&appspec, "source:") {
            assert!(bundle.join(&source).exists(), "{}: no {source}", bundle.display());
        }
    }
}

/// Runs a script of hello as a hook: in the bundle's directory, with a clean environment.
fn hello(bundle: &Path, script: &str, event: &str) -> Output {
    let environment = [("PATH", "/usr/bin:/bin"), ("LIFECYCLE_EVENT", event), ("DEPLOYMENT_ID", "d-EXAMPLE")];
    Command::new(bundle.join(script)).current_dir(bundle).env_clear().envs(environment).output().unwrap()
}

#[test]
fn hello_runs_at_every_event() {
    let bundle = bundles().into_iter().find(|bundle| bundle.ends_with("hello")).unwrap();
    let appspec = fs::read_to_string(bundle.join("appspec.yml")).unwrap();
    let mut event = String::new();
    let mut events = 0;
    for line in appspec.lines().skip_while(|line| *line != "hooks:").skip(1) {
        if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            event = name.to_owned();
        } else if let Some(script) = line.trim().strip_prefix("- location: ") {
            let output = hello(&bundle, script, &event);
            assert!(output.status.success(), "{event}: {output:?}");
            assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{event}: {output:?}");
            events += 1;
        }
    }
    assert_eq!(events, 9);
}

#[test]
fn hello_says_what_is_wrong_with_a_broken_page() {
    let bundle = bundles().into_iter().find(|bundle| bundle.ends_with("hello")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(bundle.join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    fs::write(copy.path().join("site/index.html"), "<title>Goodb").unwrap();
    for (script, event, complaint) in [
        ("hooks/before_install.sh", "BeforeInstall", "site/index.html is cut off\n"),
        ("hooks/validate.sh", "ValidateService", "the title of site/index.html is '', not 'Hello'\n"),
        ("hooks/traffic.sh", "Install", "hooks/traffic.sh has nothing to do at Install\n"),
    ] {
        let output = hello(copy.path(), script, event);
        assert_eq!(output.status.code(), Some(1), "{script}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), complaint);
    }
}

/// The steps of web-service's appspec, done by hand, as `hook EVENT SCRIPT USER` and plain commands.
const BY_HAND: &str = r#"
cd /root/web-service
hook() { runuser -u "$3" -- env LIFECYCLE_EVENT="$1" DEPLOYMENT_ID="$deployment" HOSTLER_DEADLINE=20 "./hooks/$2"; }
chmod 711 /root
hook ApplicationStop stop.sh root
hook BeforeInstall prepare.sh root
install -D -t /opt/web-service/bin bin/*
install -D -g web-service -m 640 -t /opt/web-service/public public/*
install -D -g web-service -m 640 -t /etc/web-service etc/web-service.env
install -m 644 -t /etc/systemd/system etc/web-service.service
hook AfterInstall register.sh root
hook AfterInstall write_release.sh web-service
hook ApplicationStart start.sh root
hook ValidateService validate.sh web-service
"#;

#[test]
fn web_service_answers_for_its_deployment() {
    let Some(host) = Machine::named("web", Layout::Unified).boot() else { return };
    let bundle = bundles().into_iter().find(|bundle| bundle.ends_with("web-service")).unwrap();
    host.copy_in(&bundle, "/root/web-service");
    for deployment in ["d-FIRST", "d-SECOND"] {
        let log = host.sh(&format!("deployment={deployment}\n{BY_HAND}"));
        let health = host.sh("curl -sf http://127.0.0.1:8080/health");
        assert_eq!(health, format!(r#"{{"status": "ok", "deployment": "{deployment}"}}"#));
        assert!(log.ends_with(&format!("healthy: {health}")), "{log}");
        assert!(host.sh("curl -sf http://127.0.0.1:8080/").contains("It works"));
    }
    assert_eq!(host.sh("systemctl show --value --property=User web-service"), "web-service");

    // The old process still answers, with the deployment before.
    host.sh("echo d-THIRD > /var/lib/web-service/release");
    let refused = host.try_sh(
        "cd /root/web-service; LIFECYCLE_EVENT=ValidateService DEPLOYMENT_ID=d-THIRD HOSTLER_DEADLINE=2 hooks/validate.sh",
    );
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("d-SECOND"), "{refused:?}");
}
