//! One agent per state, and the permissions of its control socket.

use hostler_core::codes::ExitCode;

use super::{ONE_HOOK, bundle, code, ended, host, main_pid};
use crate::support::machine::Layout;

#[test]
fn there_is_one_agent_and_it_knows_who_asks() {
    let Some(host) = host("control-socket", Layout::Unified) else { return };
    let place = bundle(&host, "any", &[("appspec.yml", ONE_HOOK), ("hook.sh", "echo done")]);
    let daemon = main_pid(&host);

    let (status, said) = ended(&host, "hostler run");
    assert_eq!(status, code(ExitCode::LockHeld), "{said}");
    assert!(said.contains(&format!("process {daemon}")), "{said}");

    let (status, said) = ended(&host, &format!("hostler deploy {place}"));
    assert_eq!(status, code(ExitCode::Ok), "{said}");

    host.sh("useradd outsider; useradd --groups hostler member");
    let by = |user: &str, verb: &str| ended(&host, &format!("runuser -u {user} -- hostler {verb}"));
    let (status, said) = by("outsider", "status");
    assert_eq!(status, code(ExitCode::Ok), "{said}");
    assert!(said.contains(&format!("runs (pid {daemon})")) && said.contains("app/hosts: good"), "{said}");
    for verb in [&format!("deploy {place}"), "rollback", "resume", "stop"] {
        let (status, said) = by("outsider", verb);
        assert_eq!(status, code(ExitCode::Refused), "{verb}: {said}");
        assert!(said.contains("members of the group hostler may act"), "{verb}: {said}");
    }
    let (status, said) = by("member", &format!("deploy {place}"));
    assert_eq!(status, code(ExitCode::Ok), "{said}");

    // A member reads what the daemon and the output's own mode let it read; the ledger stays root's.
    let (status, said) = by("member", "logs");
    assert!(status == code(ExitCode::Ok) && said.contains("done"), "{said}");
    let (status, said) = by("member", "history");
    assert_eq!(status, code(ExitCode::Ok), "{said}");
    assert_eq!(said.trim(), host.sh("hostler history").trim());
    let (status, said) = by("outsider", "history");
    assert_eq!(status, code(ExitCode::Refused), "{said}");
    // The configuration is closed to others already.
    let (status, said) = by("outsider", "logs");
    assert!(status == code(ExitCode::Usage) && said.contains("members of the group hostler read"), "{said}");

    let history = host.sh("hostler history --events | grep 'deployment of app/hosts started'");
    let asked: Vec<&str> = history.lines().map(|line| line.split(" by ").nth(1).unwrap()).collect();
    assert_eq!(asked.len(), 2, "{history}");
    assert!(asked[0].starts_with("user root:") && asked[1].starts_with("user member:"), "{history}");
    assert_eq!(main_pid(&host), daemon);
}
