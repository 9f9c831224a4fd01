//! This machine: files, archives, processes, users, cgroups, journal, sockets, probes.
//!
//! It carries out what `hostler-core` decided and never sees `hostler-aws`.

pub mod archive;
pub mod atomic;
pub mod clock;
pub mod codedeploy_agent;
pub mod digest;
pub mod firmware;
pub mod group_directory;
pub mod health_listener;
pub mod history_file;
pub mod hooks;
pub mod ignored;
pub mod init;
pub mod inspect;
pub mod install;
pub mod journal;
pub mod layout;
pub mod ledger;
pub mod locale;
pub mod login_environment;
pub mod machine_scripts;
pub mod memory;
pub mod mounts;
pub mod notify;
pub mod observe;
mod path_bytes;
pub mod perms;
pub mod power;
pub mod probe;
pub mod programs;
pub mod regular;
pub mod remove_tree;
pub mod reserve;
pub mod safe_path;
pub mod secret_files;
pub mod signature;
pub mod socket;
pub mod store_dir;
pub mod tail;
#[cfg(test)]
mod test_support;
pub mod users;
