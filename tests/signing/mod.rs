//! Signed releases, from the key to the host: a release without the required signatures reaches no host.

mod by_hand;
mod keys;
mod kms;
mod names;
mod rotation;
mod thresholds;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::host::{Ended, Host};
use crate::support::kept_by::{kept_rows, table_of};

const APPSPEC: &str = "version: 0.0\nos: linux\nfiles:\n  - source: site\n    destination: /srv/site\n";

/// A host, a store and keys.
pub struct Signed {
    pub host: Host,
}

impl Signed {
    /// A host with a bundle `v1` and these key pairs.
    pub fn new(keys: &[&str]) -> Self {
        let signed = Self { host: Host::new() };
        signed.write_bundle("v1");
        for name in keys {
            signed.host.hostler(&["keygen", name]).with_code(0);
        }
        signed
    }

    pub fn write_bundle(&self, version: &str) {
        self.host.bundle(version, &[("appspec.yml", APPSPEC), ("site/index.html", version)]);
    }

    /// The configuration's line for a key.
    pub fn line(&self, name: &str) -> String {
        let pem = fs::read_to_string(self.host.path(format!("{name}.pub"))).unwrap();
        pem.lines().filter(|line| !line.starts_with("-----")).collect()
    }

    /// Configures which keys must sign releases from a source, and how many of them.
    pub fn require(&self, source: &str, threshold: u32, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|name| self.line(name)).collect();
        let text = format!("signatures:\n  {source}: {{threshold: {threshold}, keys: [{}]}}\n", keys.join(", "));
        self.host.write("root/etc/hostler/config.yaml", text);
    }

    /// Removes every policy.
    pub fn require_nothing(&self) {
        self.host.write("root/etc/hostler/config.yaml", "poll: 60s\n");
    }

    /// Publishes a revision.
    pub fn release(&self, revision: &str, arguments: &[&str]) -> Ended {
        self.host.hostler_for_group(&[&["release", "store", revision][..], arguments].concat())
    }

    /// The installed version.
    pub fn serves(&self) -> Option<String> {
        fs::read_to_string(self.host.at("srv/site/index.html")).ok()
    }

    pub fn document(&self) -> PathBuf {
        self.host.path("store/shop/web/release.json")
    }

    pub fn read_document(&self) -> Value {
        serde_json::from_slice(&fs::read(self.document()).unwrap()).unwrap()
    }

    pub fn write_document(&self, document: &Value) {
        fs::write(self.document(), document.to_string()).unwrap();
    }

    pub fn status(&self) -> Value {
        self.host.hostler(&["status", "--json"]).with_code(0).json()["groups"][0].clone()
    }
}

#[test]
fn every_attack_on_a_release_has_its_test() {
    let rows = kept_rows(&table_of("SEMANTICS.md", "| what is tried | kept by |"), 1);
    assert_eq!(rows.len(), 14, "{rows:?}");
}

/// The short name of a key, as shown to people.
pub fn short(id: &str) -> &str {
    &id[..19]
}
