//! The configuration files: one main file, and the drop-ins beside it in the order of their names.

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hostler_core::appspec::diagnose;
use hostler_core::codes::ExitCode;
use hostler_core::config;
use hostler_core::config::settings::Settings;
use hostler_core::limits::Limits;
use hostler_host::regular;

use crate::failure::Failure;

/// The hint for a user who may not read the configuration.
pub const WHO_READS: &str = "root and members of the group hostler read it: it may hold secrets. Run this as one of them, or \
                             name another configuration with --config";

/// Reads the configuration; without a file, the defaults apply.
///
/// # Errors
/// A usage failure that shows the line and the problem in it.
pub fn load(root: &Path, named: Option<&Path>, limits: &Limits) -> Result<Settings, Failure> {
    let files = read_all(root, named, limits)?;
    let files: Vec<_> = files.into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    files.iter().for_each(|(name, _)| log::debug!("the configuration file {name} is read"));
    config::read(&files, limits).map_err(|diagnostics| {
        let shown = files.iter().map(|(name, text)| {
            let of_file: Vec<_> = diagnostics.iter().filter(|d| &d.file == name).cloned().collect();
            diagnose::render(&of_file, text)
        });
        let message = format!("the configuration is wrong\n{}", shown.collect::<String>().trim_end());
        Failure::say(ExitCode::Usage, message)
    })
}

fn read_all(root: &Path, named: Option<&Path>, limits: &Limits) -> Result<Vec<(PathBuf, String)>, Failure> {
    let main = main(root, named);
    let mut files = Vec::new();
    // A file named by the user may be a pipe that a shell made of `<(...)`.
    let bytes = if named.is_some() { regular::read_argument } else { regular::read };
    match text(&main, bytes(&main, limits.config_bytes))? {
        Some(text) => files.push((main.clone(), text)),
        None if named.is_some() => {
            return Err(Failure::say(ExitCode::Usage, format!("the configuration {} does not exist", main.display())));
        }
        None => {}
    }
    for path in drop_ins(&main)? {
        files.extend(text(&path, regular::read(&path, limits.config_bytes))?.map(|text| (path, text)));
    }
    Ok(files)
}

fn main(root: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| root.join("etc/hostler/config.yaml"), Path::to_owned)
}

/// Whether this process's user may not read this host's configuration. A file named by the user is never closed.
pub fn is_closed(root: &Path) -> bool {
    let main = main(root, None);
    let mut files = drop_ins(&main).unwrap_or_default();
    files.push(main);
    let closed = |path: &PathBuf| regular::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    files.iter().any(closed)
}

/// The files that every user of this host can read although they hold secrets, each with the keys of the secrets.
pub fn open_secrets(root: &Path, named: Option<&Path>, limits: &Limits) -> Vec<(PathBuf, Vec<&'static str>)> {
    let files = read_all(root, named, limits).unwrap_or_default();
    let open = files.into_iter().filter(|(path, _)| may_be_read_by_all(path));
    let with_keys = open.map(|(path, text)| {
        let name = path.display().to_string();
        let keys = config::read(&[(name, text)], limits).map(|settings| settings.secrets()).unwrap_or_default();
        (path, keys)
    });
    with_keys.filter(|(_, keys)| !keys.is_empty()).collect()
}

/// Whether the file's own mode lets every user read it.
pub fn may_be_read_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, Failure> {
    let directory = main.parent().unwrap_or(Path::new("/")).join("config.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("cannot read {}", directory.display()));
            return Err(Failure::new(ExitCode::Usage, error));
        }
    };
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    paths.sort();
    Ok(paths)
}

fn text(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Option<String>, Failure> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            let failure = Failure::new(ExitCode::Usage, error);
            return Err(if denied { failure.hint(WHO_READS) } else { failure });
        }
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()));
    text.map(Some).map_err(|error| Failure::new(ExitCode::Usage, error))
}
