//! This machine: files, archives, processes, users, cgroups, journal, sockets, probes.
//!
//! It carries out what `hostler-core` decided and never sees `hostler-aws`.
//!
//! ```text
//! clock users mounts programs firmware inspect memory         what the system says of itself
//! login_environment path_bytes group_directory git
//! atomic regular                                              single files
//! socket notify journal power ignored init health_listener    what systemd, process 1 and neighbours expect
//!      ^
//! perms safe_path reserve locale layout                       directories and the ways to them
//! machine_scripts signature store_dir
//!      ^
//! install ledger observe secret_files                         transactions; the state; looks at the host
//! codedeploy_agent
//!      ^
//! hooks log_follow history_file                               scripts and their supervisor; logs; the history
//!      ^
//! probe                                                       one question to the application
//! ```
//!
//! The map begins with the lowest floor. A room imports only from floors below its own, and from its own floor if no
//! circle arises; `tests/architecture` reads this map and the imports.

pub use hostler_archive as archive;
pub use hostler_archive::{digest, remove_tree};

pub mod atomic;
pub mod clock;
pub mod codedeploy_agent;
pub mod firmware;
pub mod git;
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
pub mod log_follow;
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
pub mod reserve;
pub mod safe_path;
pub mod secret_files;
pub mod signature;
pub mod socket;
pub mod store_dir;
#[cfg(test)]
mod test_support;
pub mod users;
