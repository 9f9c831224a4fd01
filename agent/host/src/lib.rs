//! This machine: files, archives, processes, users, cgroups, journal, sockets, probes.
//!
//! It carries out what `hostler-core` decided and never sees `hostler-aws`.

pub mod atomic;
pub mod ledger;
pub mod observe;
pub mod archive;
pub mod digest;
pub mod install;
pub mod perms;
pub mod hooks;
pub mod users;
