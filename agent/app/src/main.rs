//! hostler: deploys revision bundles on this host.
fn main() {}
