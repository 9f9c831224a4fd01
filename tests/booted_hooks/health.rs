//! Health checks on a host with systemd: a unit that must be active, a script as its user.

use hostler_core::codes::ExitCode;

use super::{bundle, code, ended, group, host, wait_for_mark};
use crate::support::machine::Layout;

const APPSPEC: &str = "
version: 0.0
os: linux
hostler:
  health:
    - unit: application.service
      interval: 1s
      successes: 1
      failures: 1
      deadline: 2s
    - command: {location: look.sh, runas: web}
      interval: 1s
      successes: 1
";

/// Prints the check's own user, and whether it has the daemon's privileges.
const LOOK: &str =
    "echo \"$(id -un):$(id -Gn) $(cat /proc/self/oom_score_adj) ${AWS_SECRET_ACCESS_KEY:-none}\" > /srv/marks/look\n";

#[test]
fn a_unit_must_be_active_and_a_script_looks_as_its_user() {
    let Some(host) = host("checks", Layout::Unified) else { return };
    host.sh("useradd --create-home --groups games,audio web");
    host.sh("printf '[Service]\\nEnvironment=AWS_SECRET_ACCESS_KEY=secret\\n' > /etc/systemd/system/hostler.service.d/keys.conf");
    host.sh("systemctl daemon-reload; systemctl restart hostler");
    let place = bundle(&host, "v1", &[("appspec.yml", APPSPEC), ("look.sh", LOOK)]);
    let (status, said) = ended(&host, &format!("hostler deploy {place}"));
    assert_eq!(status, code(ExitCode::Failed), "{said}");
    assert!(said.contains("checks of application.service failed: inactive"), "{said}");
    assert_eq!(wait_for_mark(&host, "look").trim(), "web:web audio games 0 none");

    host.sh("systemd-run --quiet --unit=application sleep infinity");
    let (status, said) = ended(&host, &format!("hostler deploy {place}"));
    assert_eq!(status, code(ExitCode::Ok), "{said}");
    assert!(group(&host).unwrap().installed.is_some());
}
