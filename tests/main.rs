//! Black-box tests: the built program against real parts.
// A test reports a failure by panicking, and prints why it was skipped; doubles of services read the clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::disallowed_methods)]

mod access;
mod architecture;
mod backups;
mod booted_hooks;
mod bootstrap;
mod by_hand;
mod capabilities;
mod checks;
mod citations;
mod codedeploy;
mod configuration;
mod container;
mod corpus;
mod crash;
mod daemon;
mod daemon_operations;
mod default_acls;
mod deploy;
mod doctor;
mod documents;
mod examples;
mod fuzzing;
mod glossary;
mod health;
mod history_and_logs;
mod hook_surroundings;
mod host_facts;
mod host_report;
mod http_support;
mod https;
mod iam;
mod identity;
mod imds;
mod infrastructure;
mod init;
mod interrupted;
mod json_output;
mod lifecycle;
mod logs;
mod machine;
mod machine_events;
mod made_later;
mod manual;
mod memory;
mod neighbours;
mod old_kernel;
mod package;
mod pipes;
mod quickstart;
mod records;
mod releases;
mod repository;
mod review;
mod s3;
mod shared_storage;
mod signal;
mod signals;
mod signing;
mod support;
mod syncs;
mod takeover;
mod terminal;
mod traffic;
mod troubleshooting;
mod wake_up;
mod wording;

// As test code, so that it may panic and print.
#[cfg(test)]
mod hooks;
