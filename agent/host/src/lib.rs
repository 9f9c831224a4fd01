//! This machine: files, archives, processes, users, cgroups, journal, sockets, probes.
//!
//! It carries out what `hostler-core` decided and never sees `hostler-aws`.

pub mod atomic;
pub mod history_file;
pub mod ledger;
pub mod store_dir;
