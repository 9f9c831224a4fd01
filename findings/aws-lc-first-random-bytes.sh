#!/bin/bash
# The first random bytes of each process cost aws-lc-rs milliseconds of CPU time; a build switch that few people know removes it.
#
# Seen with aws-lc-rs 1.19.0 and aws-lc-sys 0.47.0 (Rust 1.94, Debian 12), 2026-11-30. On Linux without FIPS, AWS-LC seeds its
# generator from the processor's timing jitter as well as from the kernel, and the code that gathers the jitter is always
# compiled without optimisation. A server pays once. A command line tool that makes one TLS connection, or a supervisor that a
# daemon starts for each script, pays each time, and may take longer for it than for its work. The environment variable
# AWS_LC_SYS_NO_JITTER_ENTROPY=1, set while the crate is built, leaves that source out; the kernel's getrandom(2) stays.
#
# Prints what it saw; exits 1 when that is not what is written here any more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "first-random-bytes"
version = "0.1.0"
edition = "2021"

[dependencies]
aws-lc-rs = { version = "=1.19.0", default-features = false, features = ["aws-lc-sys"] }
aws-lc-sys = "=0.47.0"
TOML
cat >src/main.rs <<'RUST'
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

fn main() {
    let begun = std::time::Instant::now();
    SystemRandom::new().fill(&mut [0; 32]).unwrap();
    println!("{}", begun.elapsed().as_micros());
}
RUST

# The fastest of nine processes, in microseconds.
fastest() {
	for _ in 1 2 3 4 5 6 7 8 9; do "$1/debug/first-random-bytes"; done | sort -n | head -n 1
}

cargo build --quiet --target-dir usual
AWS_LC_SYS_NO_JITTER_ENTROPY=1 cargo build --quiet --target-dir without
usual=$(fastest usual)
without=$(fastest without)
echo "first 32 random bytes of a process: $usual us as usual, $without us without jitter"

# Seen: 85,682 us and 41 us on a virtual machine with two busy processors.
[ "$usual" -gt 1000 ] && [ "$usual" -gt $((20 * without)) ]
