//! The examples, deployed, updated and rolled back by the program: below a root prefix what needs no service manager, and
//! on a booted host what its tree has a runtime for. hooks-examples/README.md says which ran by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bundles;
use crate::support::host::{HOSTLER, Host, PATIENCE};
use crate::support::machine::{Layout, Machine};
use crate::support::{eventually, tool_or_skip};

/// A copy of an example below a directory, for the test to change.
fn copy(directory: &Path, name: &str) -> PathBuf {
    let bundle = bundles().into_iter().find(|bundle| bundle.ends_with(name)).unwrap();
    let copied = Command::new("cp").arg("-R").arg(bundle).arg(directory).status().unwrap();
    assert!(copied.success());
    directory.join(name)
}

/// Replaces a text of a bundle's file, which must be there.
fn change(bundle: &Path, file: &str, from: &str, to: &str) {
    let path = bundle.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn static_site_changes_its_pages_and_goes_back() {
    let host = Host::new();
    let bundle = copy(&host.path(""), "static-site");
    let page = || fs::read_to_string(host.at("srv/static-site/index.html")).unwrap();
    host.deploy(&bundle, &[]).with_code(0);
    assert!(page().contains("Version 1") && host.at("etc/nginx/conf.d/static-site.conf").is_file());

    change(&bundle, "site/index.html", "Version 1", "Version 2");
    change(&bundle, "site/index.html", "style-1", "style-2");
    fs::rename(bundle.join("site/assets/style-1.css"), bundle.join("site/assets/style-2.css")).unwrap();
    host.deploy(&bundle, &[]).with_code(0);
    assert!(page().contains("Version 2") && !host.at("srv/static-site/assets/style-1.css").exists());

    host.ok(&["rollback"]);
    assert!(page().contains("Version 1") && host.at("srv/static-site/assets/style-1.css").is_file());
}

#[test]
fn node_service_keeps_the_settings_of_its_host() {
    let host = Host::new();
    let bundle = copy(&host.path(""), "node-service");
    let version = || fs::read_to_string(host.at("opt/node-service/package.json")).unwrap();
    host.deploy(&bundle, &[]).with_code(0);
    let settings = host.at("etc/node-service.env");
    assert_eq!(fs::read_to_string(&settings).unwrap(), "PORT=8085\n");

    fs::write(&settings, "PORT=9000\n").unwrap();
    change(&bundle, "app/package.json", "1.0.0", "1.1.0");
    host.deploy(&bundle, &[]).with_code(0);
    assert!(version().contains("1.1.0"));
    host.ok(&["rollback"]);
    assert!(version().contains("1.0.0"));
    assert_eq!(fs::read_to_string(&settings).unwrap(), "PORT=9000\n");
}

#[test]
fn blue_green_deploys_to_the_colour_that_does_not_serve() {
    let host = Host::new();
    let bundle = copy(&host.path(""), "blue-green");
    let home = host.at("srv/blue-green");
    let active = || fs::read_link(home.join("active")).unwrap().into_os_string().into_string().unwrap();
    let server = |colour: &str| fs::read_to_string(home.join(colour).join("server.py")).unwrap();
    host.deploy(&bundle, &[]).with_code(0);
    assert_eq!(active(), "blue.conf");

    change(&bundle, "app/server.py", "{COLOUR} ", "the {COLOUR} ");
    host.deploy(&bundle, &[]).with_code(0);
    assert_eq!(active(), "green.conf");
    assert!(server("green").contains("the {COLOUR}") && !server("blue").contains("the {COLOUR}"));

    // A failure before the switch: what serves goes on, and the way back leads over the other colour.
    change(&bundle, "hooks/validate_idle.sh", "set -eu\n", "set -eu\nexit 9\n");
    host.deploy(&bundle, &[]).with_code(1).saying(&["ValidateService failed"]);
    assert!(server(active().trim_end_matches(".conf")).contains("the {COLOUR}"));

    host.ok(&["rollback"]);
    assert!(!server(active().trim_end_matches(".conf")).contains("the {COLOUR}"));
}

#[test]
fn rails_like_migrates_once_and_turns_its_link() {
    if !tool_or_skip("ruby") {
        return;
    }
    let host = Host::new();
    let bundle = copy(&host.path(""), "rails-like");
    let home = host.at("srv/rails-like");
    let current = || fs::canonicalize(home.join("current")).unwrap();
    let migrated = || host.ok(&["logs"]).out.matches("[stdout] migrated ").count();
    host.deploy(&bundle, &[]).with_code(0);
    let first = current();
    assert_eq!(migrated(), 1);

    fs::write(bundle.join("app/db/migrate/20260202120000_add_likes.rb"), "->(data) { data[:likes] = 0 }\n").unwrap();
    host.deploy(&bundle, &[]).with_code(0);
    assert!(first != current() && current().join("db/migrate/20260202120000_add_likes.rb").is_file());
    assert_eq!(migrated(), 1);

    // The migration fails, so the link stays until the rollback's own release takes it.
    let second = current();
    fs::write(bundle.join("app/db/migrate/20260303120000_bad.rb"), "raise 'a mistake'\n").unwrap();
    host.deploy(&bundle, &[]).with_code(1).saying(&["AfterInstall failed: hooks/migrate.sh", "a mistake"]);
    assert!(current() != second && !current().join("db/migrate/20260303120000_bad.rb").exists());

    host.ok(&["rollback"]);
    assert!(!current().join("db/migrate/20260202120000_add_likes.rb").exists());
    assert_eq!(migrated(), 0);
    assert_eq!(fs::read_dir(home.join("releases")).unwrap().count(), 3);
}

/// A process of java-jar. It would outlive the test.
struct Background(PathBuf);

impl Background {
    fn pid(&self) -> Option<String> {
        Some(fs::read_to_string(&self.0).ok()?.trim().to_owned())
    }

    fn runs(&self) -> bool {
        self.pid().is_some_and(|pid| Path::new("/proc").join(pid).exists())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").arg(pid).output();
        }
    }
}

#[test]
fn java_jar_runs_in_the_background_until_the_next_revision_stops_it() {
    if !["javac", "jar", "java", "curl"].into_iter().all(tool_or_skip) {
        return;
    }
    let host = Host::new();
    let bundle = copy(&host.path(""), "java-jar");
    let jar = bundle.join("app/server.jar");
    let _ = fs::remove_file(&jar);
    host.deploy(&bundle, &[]).with_code(1).saying(&["app/server.jar is missing"]);
    assert!(Command::new(bundle.join("build")).status().unwrap().success());
    // A free port; the kernel gives it to no other process soon.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    change(&bundle, "app/server.conf", "8082", &port.to_string());

    let process = Background(host.at("opt/java-jar/run/server.pid"));
    host.deploy(&bundle, &[]).with_code(0);
    let first = process.pid();
    assert!(process.runs());
    change(&bundle, "app/server.conf", "64m", "65m");
    host.deploy(&bundle, &[]).with_code(0);
    assert!(process.pid() != first && process.runs());

    // Java refuses the option, the check gives up at once, and the revision before serves again.
    change(&bundle, "app/server.conf", "-Xmx65m", "-Xnonsense");
    host.deploy(&bundle, &[]).with_code(1).saying(&["not healthy", "-Xnonsense"]);
    assert!(process.runs());
    host.ok(&["remove"]);
    eventually("the process has ended", PATIENCE, || if process.runs() { Err("it runs".to_owned()) } else { Ok(()) });
}

#[test]
fn python_service_is_checked_by_the_agent_and_goes_back() {
    let Some(host) =
        Machine::named("python", Layout::Unified).bind_read_only(Path::new(HOSTLER), "/usr/bin/hostler").boot()
    else {
        return;
    };
    let local = tempfile::tempdir().unwrap();
    let bundle = copy(local.path(), "python-service");
    let deploy = |name: &str| {
        host.copy_in(&bundle, &format!("/root/{name}"));
        let output = host.try_sh(&format!("hostler deploy /root/{name}")).unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let greeting = || host.sh("curl -sf http://127.0.0.1:8083/");
    let (code, said) = deploy("first");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(greeting(), "Hello world, from version 1");

    change(&bundle, "app/service.py", "VERSION = \"1\"", "VERSION = \"2\"");
    let (code, said) = deploy("second");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(greeting(), "Hello world, from version 2");

    change(&bundle, "app/service.py", "from greeting import greeting", "from absent import greeting");
    let (code, said) = deploy("broken");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ModuleNotFoundError: No module named 'absent'"), "{said}");
    assert_eq!(greeting(), "Hello world, from version 2");
    assert_ne!(host.sh("ps -o user= -p $(systemctl show --value -p MainPID python-service)"), "root");
}
