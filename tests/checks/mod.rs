//! Problems that are known before any change to the host: `validate`, `plan`, refused input, exit codes and help.

mod help;
mod plan;
mod refusals;
mod validate;

use crate::support::host::Host;

/// An appspec without problems.
const GOOD: &str = "\
version: 0.0
os: linux
files:
  - source: site
    destination: /srv/site
permissions:
  - object: /srv/site
    pattern: \"*.html\"
    type: [file]
    mode: \"0640\"
hooks:
  AfterInstall:
    - location: hooks/after.sh
      timeout: 30
      runas: root
";

/// A script without problems.
const SCRIPT: &str = "#!/bin/sh\ntrue\n";

/// A host with the bundle `good`.
fn host_with_good() -> Host {
    let host = Host::new();
    host.bundle(
        "good",
        &[("appspec.yml", GOOD), ("site/index.html", "<title>1</title>\n"), ("hooks/after.sh", SCRIPT)],
    );
    host
}

/// Scripts run as this process's user, so that any user can run the tests.
fn good_for_anybody() -> String {
    GOOD.replace("      runas: root\n", "")
}
