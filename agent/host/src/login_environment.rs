//! The environment of a fresh login shell on this host.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The variables that the shell makes for itself.
const OF_THE_SHELL: [&str; 7] = ["_", "PWD", "OLDPWD", "SHLVL", "BASHOPTS", "SHELLOPTS", "BASH_ENV"];

/// The variables that these files set, read by bash in this order with every variable exported, as the CodeDeploy
/// agent's unit does; files that are missing are left out. `path` is the search path to begin with. A file that does
/// not end within ten seconds is an error, as is a shell that cannot be started.
///
/// # Errors
/// See above.
pub fn login_environment(files: &[&Path], path: &str) -> io::Result<Vec<(String, String)>> {
    // A file that ends in an error keeps the variables that it set, as in a login.
    const SCRIPT: &str = r#"while [ $# -gt 0 ]; do if [ -r "$1" ]; then set -a; . "$1"; set +a; fi; shift; done >/dev/null 2>&1; exec env -0"#;
    let mut shell = Command::new("timeout");
    shell.args(["--kill-after=1", "10", "/bin/bash", "-c", SCRIPT, "login"]).args(files);
    let output = shell.env_clear().env("PATH", path).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    if !output.status.success() {
        let problem = match output.status.code() {
            Some(124 | 137) => "it did not end within ten seconds".to_owned(),
            _ => output.status.to_string(),
        };
        return Err(io::Error::other(problem));
    }
    let variables = output.stdout.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = variable.split_at_checked(variable.iter().position(|byte| *byte == b'=')?)?;
        // A value that is not UTF-8 has no place in a hook's document.
        let (name, value) = (OsStr::from_bytes(name).to_str()?, OsStr::from_bytes(value.get(1..)?).to_str()?);
        Some((name.to_owned(), value.to_owned()))
    });
    Ok(variables.filter(|(name, _)| !OF_THE_SHELL.contains(&name.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_order_and_missing_ones_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let (profile, environment) = (directory.path().join("profile"), directory.path().join("environment"));
        std::fs::write(&profile, "A=1\nB=\"two words\"\nPATH=$PATH:/opt/own\nfalse\n").unwrap();
        std::fs::write(&environment, "A='2'\necho noise\n").unwrap();
        let missing = directory.path().join("missing");
        let mut found = login_environment(&[&profile, &missing, &environment], "/usr/bin:/bin").unwrap();
        found.sort();
        let expected = [("A", "2"), ("B", "two words"), ("PATH", "/usr/bin:/bin:/opt/own")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
