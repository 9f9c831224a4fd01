//! The anchors of the history in the journal.

use hostler_core::codes::ExitCode;

use super::{ONE_HOOK, bundle, code, ended, host};
use crate::support::machine::Layout;

#[test]
fn a_history_that_was_cut_together_with_the_ledger_is_found_by_the_journal() {
    let Some(host) = host("history", Layout::Unified) else { return };
    let place = bundle(&host, "any", &[("appspec.yml", ONE_HOOK), ("hook.sh", "echo done")]);
    let state = "/var/lib/hostler";
    host.sh(&format!("hostler deploy {place}"));
    host.sh(&format!("systemctl stop hostler; cp -a {state} /root/before"));
    // A deployment by hand, without the daemon, is anchored too.
    host.sh(&format!("hostler deploy {place} && journalctl --sync"));
    let (status, said) = ended(&host, "hostler history --verify");
    assert_eq!(status, code(ExitCode::Ok), "{said}");

    host.sh(&format!("cp -a /root/before/history.ndjson /root/before/ledger {state}/"));
    let (status, said) = ended(&host, "hostler history --verify");
    assert_eq!(status, code(ExitCode::VerificationFailed), "{said}");

    // Only the state's owner can write anchors: the journal records the sender.
    let forged = format!(
        "MESSAGE_ID=5f2d8a7c1be94d0f9c36b1f0a4e7d215\\nHISTORY_STATE=/var/lib/other\\nHISTORY_SEQ=0\\nHISTORY_HASH={}\\n",
        "0".repeat(64)
    );
    host.sh("mkdir /var/lib/other");
    for (user, verdict) in [("nobody", ExitCode::Ok), ("root", ExitCode::VerificationFailed)] {
        host.sh(&format!("printf '{forged}' | runuser -u {user} -- logger --journald && journalctl --sync"));
        let (status, said) = ended(&host, "hostler history --verify --state-dir /var/lib/other");
        assert_eq!(status, code(verdict), "{user}: {said}");
    }
}
