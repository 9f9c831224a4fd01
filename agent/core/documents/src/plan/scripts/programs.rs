//! The programs in the first line of a script, and whether the deployment itself installs them.

use std::path::{Path, PathBuf};

use super::SearchPath;
use crate::appspec::lint::{bundle_path, host_path, interpreters};
use crate::appspec::spec::{AppSpec, HookScript};
use crate::bundle::{BundleListing, EntryKind};
use crate::elf::{self, Machine};

/// Most directories of a search path that are examined: a bound on the cost of a long PATH.
const DIRECTORIES: usize = 64;

/// A program that a script needs, at one of these absolute paths.
pub(super) struct Program {
    /// The name in the script.
    pub(super) name: String,
    pub(super) places: Vec<PathBuf>,
    /// Whether the script cannot start if the program is at none of them.
    pub(super) is_sure: bool,
    /// For the loader of a program that is no script: the machine that the program is built for.
    pub(super) machine: Option<Machine>,
}

/// The interpreter of a script, and the program that `env` looks for.
pub(super) fn of(script: &HookScript, head: &[u8], search_path: SearchPath<'_>) -> Vec<Program> {
    let mut named = interpreters(head).into_iter();
    let machine = elf::read(head).map(|program| program.machine);
    let interpreter = named.next().map(|name| {
        // A relative name begins at the working directory, which is not necessarily the bundle's top.
        let (places, is_sure) = (vec![host_path(&name)], name.starts_with('/'));
        Program { name, places, is_sure, machine }
    });
    let found_by_env = named.next().map(|name| {
        if name.contains('/') {
            let (places, is_sure) = (vec![host_path(&name)], name.starts_with('/'));
            return Program { name, places, is_sure, machine };
        }
        let own =
            script.options.environment.iter().find(|(variable, _)| variable == "PATH").map(|(_, own)| own.as_str());
        let (path, is_known) = match (own, search_path) {
            (Some(path), SearchPath::Known(_)) | (None, SearchPath::Known(path)) => (path, true),
            (Some(path), SearchPath::Likely(_)) | (None, SearchPath::Likely(path)) => (path, false),
        };
        let directories: Vec<&str> = path.split(':').take(DIRECTORIES + 1).collect();
        let is_plain = directories.len() <= DIRECTORIES && directories.iter().all(|d| d.starts_with('/'));
        let places = directories.iter().filter(|d| d.starts_with('/')).take(DIRECTORIES);
        let places = places.map(|directory| Path::new(directory).join(&name)).collect();
        // An option of env may take the word after it.
        Program { name, places, is_sure: is_known && is_plain && !has_options(head), machine }
    });
    interpreter.into_iter().chain(found_by_env).collect()
}

fn has_options(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    line.split(|b| b.is_ascii_whitespace()).any(|word| word.starts_with(b"-"))
}

/// Whether the Install puts it there: the file itself, or a link on the way that may lead to it.
pub(super) fn is_installed(spec: &AppSpec, listing: &BundleListing, program: &Path) -> bool {
    spec.files.iter().any(|file| {
        let Ok(rest) = program.strip_prefix(host_path(&file.destination)) else { return false };
        let Some(source) = bundle_path(&file.source) else { return false };
        let is_directory = |path: &Path| match listing.get(path) {
            Some(entry) => entry.kind == EntryKind::Directory,
            None => true,
        };
        if !is_directory(&source) {
            return source.file_name() == Some(rest.as_os_str());
        }
        source.join(rest).ancestors().any(|path| listing.get(path).is_some() && !is_directory(path))
    })
}

/// Whether it is below a place that the appspec puts files into.
pub(super) fn is_below_destination(spec: &AppSpec, program: &Path) -> bool {
    spec.files.iter().any(|file| program.starts_with(host_path(&file.destination)))
}
