//! From a location in an appspec to an executable file, and to nothing outside the bundle.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use hostler_core::elf::{self, Emulation, HostMachine};

use crate::archive::open_beneath;

/// Bytes at the beginning where linkers put the segments' table and the loader's name.
const PROGRAM_HEAD_BYTES: u64 = 4096;

/// Why a location is no script.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    /// The bundle has no such file.
    #[error("script {location:?} is not in the bundle ({problem}); looked for {path}")]
    Missing { location: String, path: PathBuf, problem: String },
    /// The script exists but could not be made executable.
    #[error("script {location:?} is not executable and could not be made so ({path}): {source}")]
    NotExecutable { location: String, path: PathBuf, source: io::Error },
}

/// The path to execute. A script without the executable bit gets it, as CodeDeploy's agent does.
pub(crate) fn prepare(archive: &Path, location: &str) -> Result<PathBuf, ScriptError> {
    let relative = Path::new(location.trim_start_matches('/'));
    let path = archive.join(relative);
    let missing = |problem: String| ScriptError::Missing { location: location.to_owned(), path: path.clone(), problem };
    if relative.as_os_str().is_empty() {
        return Err(missing("it is empty".into()));
    }
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(missing("it leads out of the bundle by `..`".into()));
    }
    let file = open_beneath(archive, relative).map_err(|error| missing(describe(error)))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|error| missing(error.to_string()))?;
    if !metadata.is_file() {
        return Err(missing("it is not a regular file".into()));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o111 == 0 {
        // On the descriptor, so that the changed file is the checked file.
        let changed = file.set_permissions(PermissionsExt::from_mode((mode | 0o111) & 0o7777));
        changed.map_err(|source| ScriptError::NotExecutable {
            location: location.to_owned(),
            path: path.clone(),
            source,
        })?;
    }
    Ok(path)
}

fn describe(error: nix::Error) -> String {
    match error {
        nix::Error::EXDEV => "a symbolic link leads out of it".into(),
        nix::Error::ENOENT => "there is no such file".into(),
        error => error.desc().into(),
    }
}

/// Explains why the kernel did not execute an existing script.
pub(super) fn explain(path: &Path, user: &str, error: &io::Error) -> String {
    let path_shown = path.display();
    let loader = program(path).and_then(|program| program.loader);
    if let Some(loader) = loader.filter(|_| error.kind() == io::ErrorKind::NotFound) {
        return format!(
            "cannot execute {path_shown}: the program asks for the loader {loader:?}, which does not exist on this host; \
             build it for the C library that this host has, or statically"
        );
    }
    let Some(interpreter) = interpreter(path) else {
        return format!("cannot execute {path_shown} as user {user}: {error}");
    };
    match error.kind() {
        io::ErrorKind::NotFound if interpreter.ends_with('\r') => format!(
            "cannot execute {path_shown}: its first line ends in a carriage return, so the interpreter {:?} does not \
             exist; save the script with Unix line endings",
            interpreter
        ),
        io::ErrorKind::NotFound => {
            format!("cannot execute {path_shown}: its interpreter {interpreter:?} does not exist on this host")
        }
        io::ErrorKind::PermissionDenied => format!(
            "cannot execute {path_shown} as user {user}: {error}; the user must be allowed to enter every directory \
             above it and to run its interpreter {interpreter:?}, and the file system must not be mounted noexec"
        ),
        _ => format!("cannot execute {path_shown} as user {user} with interpreter {interpreter:?}: {error}"),
    }
}

/// Why this host cannot execute a script that is there, where that is known before: a program for another machine,
/// which execvp(3) would hand to `/bin/sh`.
pub(super) fn cannot_run(path: &Path, host: Option<HostMachine>) -> Option<String> {
    let host = host.filter(|host| host.emulation == Emulation::Absent)?.machine;
    let built_for = program(path)?.machine;
    (!built_for.runs_on(host)).then(|| {
        let (built_for, host) = (built_for.name(), host.name());
        format!("cannot execute {}: it is built for {built_for}, and this host is {host}", path.display())
    })
}

fn program(path: &Path) -> Option<elf::Program> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(PROGRAM_HEAD_BYTES).read_to_end(&mut head).ok()?;
    elf::read(&head)
}

/// The path after `#!`, without arguments.
fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.trim_start_matches([' ', '\t']).split([' ', '\t']).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn bundle() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scripts")).unwrap();
        fs::write(directory.path().join("scripts/a b.sh"), "#!/bin/sh\n").unwrap();
        directory
    }

    #[test]
    fn a_script_is_made_executable() {
        let bundle = bundle();
        for location in ["scripts/a b.sh", "/scripts/a b.sh", "./scripts//a b.sh"] {
            let path = prepare(bundle.path(), location).unwrap();
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o111, 0o111);
        }
    }

    #[test]
    fn nothing_outside_the_bundle_is_a_script() {
        let bundle = bundle();
        let top = bundle.path();
        symlink("/bin/sh", top.join("absolute")).unwrap();
        symlink("../../../../bin/sh", top.join("relative")).unwrap();
        symlink("/bin", top.join("directory")).unwrap();
        symlink("scripts/a b.sh", top.join("inside")).unwrap();
        nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o755)).unwrap();
        for (location, problem) in [
            ("../x", "`..`"),
            ("scripts/../scripts/a b.sh", "`..`"),
            ("absolute", "leads out"),
            ("relative", "leads out"),
            ("directory/sh", "leads out"),
            ("none.sh", "no such file"),
            ("scripts", "not a regular file"),
            ("fifo", "not a regular file"),
            ("", "empty"),
            ("/", "empty"),
        ] {
            let error = prepare(top, location).unwrap_err().to_string();
            assert!(error.contains(problem), "{location:?}: {error}");
        }
        prepare(top, "inside").unwrap();
    }

    #[test]
    fn the_reason_names_the_interpreter() {
        let bundle = bundle();
        let script = bundle.path().join("x");
        let not_found = io::Error::from_raw_os_error(nix::libc::ENOENT);
        fs::write(&script, "#! /bin/bash\r\necho\r\n").unwrap();
        assert!(explain(&script, "root", &not_found).contains("carriage return"));
        fs::write(&script, "#!/no/such -x\n").unwrap();
        assert!(explain(&script, "root", &not_found).contains("\"/no/such\" does not exist"));
        let this = fs::read("/proc/self/exe").unwrap();
        fs::write(&script, &this[..4096]).unwrap();
        let loader = elf::read(&this).unwrap().loader;
        let told = explain(&script, "root", &not_found);
        assert!(loader.is_none_or(|loader| told.contains(&format!("the loader {loader:?}"))), "{told}");
    }

    #[test]
    fn a_program_for_another_machine_is_not_handed_to_the_shell() {
        let bundle = bundle();
        let script = bundle.path().join("x");
        // A header of elf(5): 64 bits, little-endian, executable, machine 183.
        fs::write(&script, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0").unwrap();
        let host = |name, emulation| elf::Machine::named(name).map(|machine| HostMachine { machine, emulation });
        let told = cannot_run(&script, host("x86_64", Emulation::Absent)).unwrap();
        assert!(told.ends_with("x: it is built for arm64, and this host is x86_64"), "{told}");
        for runs in [host("aarch64", Emulation::Absent), host("x86_64", Emulation::Unknown), None] {
            assert_eq!(cannot_run(&script, runs), None);
        }
        assert_eq!(cannot_run(&bundle.path().join("scripts/a b.sh"), host("x86_64", Emulation::Absent)), None);
    }
}
