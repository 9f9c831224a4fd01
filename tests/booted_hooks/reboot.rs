//! A hook that asks for a reboot.

use hostler_core::machine::state::Outcome;

use super::{bundle, host, release, settled, wait_for_mark};
use crate::support::machine::Layout;

const APPSPEC: &str = "
version: 0.0
os: linux
hooks:
  AfterInstall:
    - {location: first.sh, timeout: 60}
    - {location: second.sh, timeout: 60}
  ApplicationStart: [{location: start.sh, timeout: 60}]
";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[test]
fn the_deployment_goes_on_after_the_boot_at_the_next_script() {
    let Some(mut host) = host("reboot", Layout::Unified) else { return };
    let first = format!("cat {BOOT} >> /srv/marks/first; exit 194");
    let second = format!("cat {BOOT} >> /srv/marks/second");
    let scripts =
        [("first.sh", first.as_str()), ("second.sh", &second), ("start.sh", "echo started > /srv/marks/start")];
    let place = bundle(&host, "reboots", &[&[("appspec.yml", APPSPEC)], &scripts[..]].concat());
    release(&host, &place);
    host.wait_until_down();
    host.start_again();
    wait_for_mark(&host, "start");
    let group = settled(&host, 1);
    assert_eq!(group.last.unwrap().outcome, Some(Outcome::Succeeded));
    let (before, after) = (host.sh("cat /srv/marks/first"), host.sh("cat /srv/marks/second"));
    assert_eq!((before.lines().count(), after.lines().count()), (1, 1), "each script runs once: {before} {after}");
    assert_ne!(before, after, "the host was not restarted between them");
    assert_eq!(after, host.sh(&format!("cat {BOOT}")));
}
