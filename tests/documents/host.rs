//! The blocks for a booted host: all pages on one, which each of them finds as a fresh installation leaves it.

use std::fs;

use super::examples::{Kind, examples};
use super::script::{failed_block, script};
use super::{Page, pages, report};
use crate::support::machine::{Layout, Machine};
use crate::support::packages::{Kind as Format, Packages};

/// Installs the package, and keeps what it and the start of its service need beside the program.
const PREPARE: &str = "
dpkg --force-unsafe-io --install /root/package.deb
mkdir /root/fresh
tar -cf - /etc/hostler /var/lib/hostler /var/log/hostler /run/hostler | tar -xf - -C /root/fresh
";

/// Leaves the host as a fresh installation does. Installing again would take most of the test's time.
const RESET: &str = "
systemctl stop hostler || true
[ -x /usr/bin/hostler ] || dpkg --force-unsafe-io --install /root/package.deb
rm -rf /etc/hostler /var/lib/hostler /var/log/hostler /run/hostler /root/page
cp -a /root/fresh/. /
systemctl reset-failed
mkdir /root/page
cp /root/package.deb /root/page/hostler_0.0.1-1_amd64.deb
";

/// Runs the page's blocks as root in a directory of their own, beside the package's file.
fn run(host: &Machine, script: &str) -> Result<(), (usize, String)> {
    host.sh(RESET);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), script).unwrap();
    host.copy_in(file.path(), "/root/script");
    // Not into a pipe, which what stays in the background would hold open.
    let output =
        host.try_sh("cd /root/page; code=0; sh -eu /root/script >/root/log 2>&1 || code=$?; cat /root/log; exit $code");
    let output = output.map_err(|fault| (0, fault))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed_block(&String::from_utf8_lossy(&output.stdout), output.status.code()))
}

#[test]
fn every_block_for_a_host_runs_on_one() {
    let own =
        [("host.md", include_str!("fixtures/host.md")), ("broken-host.md", include_str!("fixtures/broken-host.md"))];
    let own = own.map(|(name, text)| Page { name: name.to_owned(), text: text.to_owned() });
    let Some(packages) = Packages::build(Format::Deb, &["package"]) else { return };
    let Some(host) = packages.host("documents", Layout::Unified) else { return };
    host.sh(PREPARE);

    let (mut faults, mut expected) = (Vec::new(), Vec::new());
    for page in own.iter().chain(&pages()) {
        let Ok(examples) = examples(&page.text) else { continue };
        let Some(script) = script(&examples, Kind::Host) else { continue };
        let list = if page.name == "broken-host.md" { &mut expected } else { &mut faults };
        list.extend(run(&host, &script).err().map(|(line, said)| (page.name.clone(), line, said)));
    }
    report(&faults);
    // The harness's own page shows that a failure is seen, and where.
    let (page, line, said) = &expected[0];
    assert_eq!((page.as_str(), *line), ("broken-host.md", 7), "{said}");
    assert!(said.contains("no-such.service"), "{said}");
}
