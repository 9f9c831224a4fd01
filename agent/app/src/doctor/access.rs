//! Access to the configuration files.

use std::path::PathBuf;

use hostler_core::doctor::{Code, Finding};
use hostler_host::users::{self, SERVICE_GROUP};

use crate::cli::Shared;
use crate::config_files::{may_be_read_by_all, open_secrets};
use crate::setup::Setup;

/// Whether files that every user of the host can read hold secrets.
pub fn examine(shared: &Shared, setup: &Setup) -> Finding {
    let mut open = open_secrets(setup.layout.root(), shared.config.as_deref(), &setup.limits);
    open.extend(on_premises(setup).map(|path| (path, vec!["aws_secret_access_key"])));
    if open.is_empty() {
        return Finding::ok(Code::ConfigurationAccess, "no file that every user reads holds a secret");
    }
    let told = open.iter().map(|(path, keys)| format!("every user may read {}: {}", path.display(), keys.join(", ")));
    let message = told.collect::<Vec<_>>().join("; ");
    let paths = open.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(" ");
    let give =
        if users::group_exists(SERVICE_GROUP) { format!("chgrp {SERVICE_GROUP} {paths} && ") } else { String::new() };
    Finding::warning(Code::ConfigurationAccess, message, format!("{give}chmod 640 {paths}"))
}

/// The CodeDeploy agent's file if it holds a user's keys. A file for session credentials only names where those are.
fn on_premises(setup: &Setup) -> Option<PathBuf> {
    let compat = setup.codedeploy_compat.as_ref()?;
    compat.on_premises.as_ref().filter(|found| found.has_keys())?;
    let path = setup.layout.beneath_root(&compat.agent.on_premises_config_file);
    may_be_read_by_all(&path).then_some(path)
}
