//! Where the configuration lies: one file, and the drop-ins beside it in the order of their names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hostler_core::appspec::diagnose;
use hostler_core::codes::ExitCode;
use hostler_core::config;
use hostler_core::config::settings::Settings;
use hostler_core::limits::Limits;

use crate::failure::Failure;

/// Reads the configuration; none at all is the defaults.
///
/// # Errors
/// A usage failure that shows the line and what is wrong with it.
pub fn load(root: &Path, named: Option<&Path>, limits: &Limits) -> Result<Settings, Failure> {
    let main = named.map_or_else(|| root.join("etc/hostler/config.yaml"), Path::to_owned);
    let mut files = Vec::new();
    match read(&main, limits)? {
        Some(text) => files.push((main.display().to_string(), text)),
        None if named.is_some() => {
            return Err(Failure::say(ExitCode::Usage, format!("the configuration {} does not exist", main.display())));
        }
        None => {}
    }
    for path in drop_ins(&main)? {
        files.extend(read(&path, limits)?.map(|text| (path.display().to_string(), text)));
    }
    config::read(&files, limits).map_err(|diagnostics| {
        let shown = files.iter().map(|(name, text)| {
            let of_file: Vec<_> = diagnostics.iter().filter(|d| &d.file == name).cloned().collect();
            diagnose::render(&of_file, text)
        });
        let message = format!("the configuration is wrong\n{}", shown.collect::<String>().trim_end());
        Failure::say(ExitCode::Usage, message)
    })
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, Failure> {
    let directory = main.parent().unwrap_or(Path::new("/")).join("config.d");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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

fn read(path: &Path, limits: &Limits) -> Result<Option<String>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            return Err(Failure::new(ExitCode::Usage, error));
        }
    };
    if bytes.len() > limits.config_bytes {
        let message = format!(
            "{} has {} bytes; a configuration has at most {}",
            path.display(),
            bytes.len(),
            limits.config_bytes
        );
        return Err(Failure::say(ExitCode::Usage, message));
    }
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()));
    text.map(Some).map_err(|error| Failure::new(ExitCode::Usage, error))
}
