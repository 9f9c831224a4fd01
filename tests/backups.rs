//! Files kept for a rollback: neither scripts nor administrators' tools come across them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use crate::support::host::{Bundle, EVENTS_WITH_HOOKS, Host, tree};
use crate::support::skip;

/// A bundle in which every hook records the agent's files that it sees below the destination's parent.
fn watching(host: &Host, version: &str, fails: bool) -> std::path::PathBuf {
    let (found, srv) = (host.path("found"), host.at("srv"));
    let look = format!("find {} -name '*hostler*' >> {}", srv.display(), found.display());
    let mut bundle = Bundle::new(host, version).app().content("app/conf/pw", format!("secret of {version}\n"));
    bundle = bundle.content(&format!("app/sub-{version}/file"), "in a directory of this version\n");
    for event in EVENTS_WITH_HOOKS {
        let copy = format!("rm -rf {0}/copy && cp -a {0}/app {0}/copy", srv.display());
        let more = match event {
            "AfterInstall" => copy.as_str(),
            "ValidateService" if fails => "exit 1",
            _ => "",
        };
        bundle = bundle.hook(event, &format!("{look}\n{more}"));
    }
    bundle.write()
}

#[test]
fn no_script_sees_what_is_kept_for_a_rollback_and_none_can_copy_it() {
    let host = Host::new();
    fs::create_dir(host.at("srv")).unwrap();
    host.deploy(&watching(&host, "v1", false), &[]).with_code(0);
    host.deploy(&watching(&host, "v2", false), &[]).with_code(0);
    let good = tree(&host.at("srv/app"));
    assert_eq!(tree(&host.at("srv/copy")), good);
    // Fails after Install, so that its own backups are restored.
    let failed = host.deploy(&watching(&host, "v3", true), &[]);
    assert_ne!(failed.code, Some(0), "{failed:?}");
    assert_eq!(tree(&host.at("srv/app")), good, "{failed:?}");
    let failed = host.deploy(&watching(&host, "v4", true), &["--no-rollback"]);
    assert_ne!(failed.code, Some(0), "{failed:?}");
    assert_eq!(fs::read_to_string(host.path("found")).unwrap(), "");
    assert_eq!(fs::read_to_string(host.at("srv/app/conf/pw")).unwrap(), "secret of v4\n");
    host.deploy(&watching(&host, "v5", false), &[]).with_code(0);
    assert_eq!(fs::read_to_string(host.path("found")).unwrap(), "");
    let kept = tree(&host.state()).into_keys().filter(|path| path.ends_with("backups"));
    assert_eq!(kept.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "nothing is kept after a success");
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_program_that_runs_is_found_by_its_path_after_an_update() {
    let host = Host::new();
    let sleep = fs::read("/bin/sleep").unwrap();
    let server = host.at("srv/app/server");
    let first = Bundle::new(&host, "v1").app().content("app/server", &sleep);
    let mode = "  - object: /srv/app\n    pattern: server\n    mode: 755\n    type: [file]\n";
    host.deploy(&first.permissions(mode).write(), &[]).with_code(0);
    let mut running = Running(Command::new(&server).arg("1000").spawn().unwrap());
    let tool =
        ["/sbin/start-stop-daemon", "/usr/sbin/start-stop-daemon"].into_iter().find(|tool| Path::new(tool).exists());
    let stop = match tool {
        Some(tool) => format!("{tool} --stop --retry 30 --exec {}", server.display()),
        None => String::new(),
    };
    let seen = host.path("seen");
    let hook = format!("readlink /proc/{}/exe > {}\n{stop}", running.0.id(), seen.display());
    let second = Bundle::new(&host, "v2").app().content("app/server", "#!/bin/sh\n").hook("AfterInstall", &hook);
    // The tool's own status says whether it found the program.
    host.deploy(&second.write(), &[]).with_code(0);
    assert_eq!(fs::read_to_string(seen).unwrap(), format!("{} (deleted)\n", server.display()));
    match tool {
        Some(_) => assert!(!running.0.wait().unwrap().success(), "it was stopped by a signal"),
        None => skip("there is no start-stop-daemon here"),
    }
}
