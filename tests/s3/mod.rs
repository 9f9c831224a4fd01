//! S3: releases and downloads there, and failures of S3 or of the network.

mod download;
mod faults;
mod keys;
mod moto;
mod profiles;
mod releases;
mod terminal;
mod ways;

use std::process::Command;

use crate::support::host::{Bundle, Ended, Host, Running};
use crate::support::s3_front::{ACCESS_KEY, BUCKET, Front, SECRET_KEY};

/// A host that uses a server on loopback as AWS.
struct S3Host {
    host: Host,
    environment: Vec<(&'static str, String)>,
}

impl S3Host {
    /// A host that uses the service at this URL.
    fn new(endpoint: &str) -> Self {
        let environment = vec![
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        Self { host: Host::new(), environment }
    }

    /// A host that uses our own server.
    fn of(front: &Front) -> Self {
        Self::new(&front.server().url())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> Ended {
        self.run(arguments).with_code(0)
    }

    /// Follows the channel in the store once.
    fn once(&self) -> Ended {
        self.run(&["run", "--once", "--channel", &store()])
    }

    fn start_once(&self) -> Running {
        self.host.start_command(self.command(&["run", "--once", "--channel", &store()]))
    }

    /// Pushes and releases a bundle; returns its revision.
    fn release(&self, bundle: Bundle) -> String {
        let revision = self.push(bundle);
        self.ok(&["release", &store(), &revision]);
        revision
    }

    fn push(&self, bundle: Bundle) -> String {
        let directory = bundle.write();
        let pushed = self.ok(&["push", directory.to_str().unwrap(), &store(), "-t", "zip", "--json"]);
        pushed.json()["revision"].as_str().unwrap().to_owned()
    }

    fn version(&self) -> String {
        std::fs::read_to_string(self.host.at("srv/app/version")).unwrap_or_default().trim().to_owned()
    }

    fn bundle(&self, version: &str) -> Bundle {
        Bundle::new(&self.host, version).app()
    }
}

/// The store of these tests.
fn store() -> String {
    format!("s3://{BUCKET}/st")
}

/// Bytes that do not compress, the same each time.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}
