//! `hostler init [DIR]`: a first appspec with its scripts, from flags and a short dialogue.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hostler_core::appspec::starter::StarterFile;
use hostler_core::codes::ExitCode;
use hostler_core::limits::Limits;
use hostler_host::users;
use nix::unistd::{AccessFlags, access};

use super::outside;
use crate::cli::{InitArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;

mod dialogue;

/// The directory of what is installed, where the bundle has none yet.
const SOURCE: &str = "app";

pub fn run(shared: &Shared, arguments: InitArgs) -> Outcome {
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let name = name_of(&directory)?;
    must_be_directory(&directory)?;
    let there = entries(&directory)?;
    let asks = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !shared.json;
    let is_there = |path: &str| directory.join(path).symlink_metadata().is_ok();
    let starter = dialogue::complete(arguments, &name, &there, &is_there, asks)?;
    let unfit = |error| Failure::new(ExitCode::Usage, anyhow::Error::new(error));
    let mut files = starter.files(&Limits::default()).map_err(unfit)?;
    if starter.source == SOURCE && !there.iter().any(|entry| entry == SOURCE) {
        let text = format!("Put here what is installed in {}, and delete this file.\n", starter.destination);
        files.push(StarterFile { path: "app/README.txt", text, executable: false });
    }
    refuse_existing(&directory, &files)?;
    refuse_obstacles(&directory, &files)?;
    make_all(&directory, &files)?;
    if let Some(user) = starter.user.as_ref().filter(|user| users::lookup(user).is_err()) {
        output::notice(&format!("warning: this machine has no user {user:?}; the hosts need it before the deployment"));
    }
    say(shared, &directory, &files, starter.check.is_some())
}

/// Nothing can be made in a file, nor where a link leads nowhere.
fn must_be_directory(directory: &Path) -> Result<(), Failure> {
    let is_link = directory.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let problem = match directory.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is not a directory",
        Err(error) if error.kind() == ErrorKind::NotFound && is_link => "is a link to a directory that does not exist",
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => "lies below a file",
        Err(error) => return Err(Failure::from(error).during("the bundle's directory cannot be read")),
    };
    Err(Failure::say(ExitCode::Refused, format!("nothing was made, because {} {problem}", directory.display()))
        .hint("name the bundle's directory, or one that is not there yet"))
}

/// The name of the bundle's directory, by which the destination is called.
fn name_of(directory: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(directory).context("the directory has no name")?;
    Ok(whole.file_name().map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned()))
}

/// What lies at the top of the bundle, without hidden files and what `init` makes; nothing where the directory is absent.
fn entries(directory: &Path) -> Result<Vec<String>, Failure> {
    let read = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !["hooks", "appspec.yml", "appspec.yaml"].contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Nothing is overwritten, and nothing is made where one of the files is there.
fn refuse_existing(directory: &Path, files: &[StarterFile]) -> Result<(), Failure> {
    let paths = files.iter().map(|file| file.path).chain(["appspec.yaml"]).map(|path| directory.join(path));
    let there: Vec<String> =
        paths.filter(|path| path.symlink_metadata().is_ok()).map(|p| p.display().to_string()).collect();
    if there.is_empty() {
        return Ok(());
    }
    Err(Failure::say(ExitCode::Refused, format!("nothing was made, because there is {}", there.join(", ")))
        .hint("`hostler init` overwrites nothing: move these files away, or name another directory"))
}

/// Nothing is made where a file lies in the place of a directory.
fn refuse_obstacles(directory: &Path, files: &[StarterFile]) -> Result<(), Failure> {
    let mut parents =
        files.iter().filter_map(|file| Path::new(file.path).parent()).map(|parent| directory.join(parent));
    let is_obstacle = |path: &PathBuf| path.symlink_metadata().is_ok() && !path.is_dir();
    match parents.find(is_obstacle) {
        None => Ok(()),
        Some(path) => {
            let message = format!("nothing was made, because {} is not a directory", path.display());
            Err(Failure::say(ExitCode::Refused, message).hint("move it away, or name another directory"))
        }
    }
}

/// Makes the files, the appspec last: with it, the directory is a bundle. If one cannot be made, none stays.
fn make_all(directory: &Path, files: &[StarterFile]) -> Result<(), Failure> {
    let mut made = Vec::new();
    for file in files.iter().rev() {
        let path = directory.join(file.path);
        if let Err(failure) = make(&path, file) {
            // The first problem is the one to tell.
            made.iter().for_each(|path| _ = fs::remove_file(path));
            return Err(failure);
        }
        made.push(path);
    }
    Ok(())
}

fn make(path: &Path, file: &StarterFile) -> Result<(), Failure> {
    let made = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = if file.executable { 0o777 } else { 0o666 };
        let mut target = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        target.write_all(file.text.as_bytes()).inspect_err(|_| _ = fs::remove_file(path))
    };
    Ok(made().with_context(|| format!("cannot make {}", path.display()))?)
}

fn say(shared: &Shared, directory: &Path, files: &[StarterFile], has_check: bool) -> Outcome {
    let made: Vec<PathBuf> = files.iter().map(|file| directory.join(file.path)).collect();
    if shared.json {
        output::json(&serde_json::json!({ "version": 1, "directory": directory, "made": made }))?;
        return Ok(ExitCode::Ok);
    }
    let made: String = made.iter().map(|path| format!("made {}\n", path.display())).collect();
    let shown = shell_word(&directory.to_string_lossy());
    let root = root_for_a_trial(directory)?;
    let try_it = if has_check {
        "try it in a directory of its own; start the application first, for ValidateService waits until its check is healthy"
    } else {
        "try it in a directory of its own"
    };
    let next = [
        (format!("hostler validate {shown} --deny-warnings"), "is it right?"),
        (format!("hostler deploy {shown} --root {root}"), try_it),
        (format!("hostler deploy {shown}"), "deploy it on this host"),
        (format!("hostler push {shown} STORE"), "store it for other hosts, which follow its releases"),
    ];
    let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let next: String = next.iter().map(|(command, what)| format!("  {command:<width$}  {what}\n")).collect();
    output::remark(&format!("{made}\nNext:\n{next}"))?;
    Ok(ExitCode::Ok)
}

/// The root prefix of the line that tries the bundle, for the shell that called.
fn root_for_a_trial(directory: &Path) -> Result<String, Failure> {
    let here = std::env::current_dir().context("the working directory cannot be found")?;
    let bundle = fs::canonicalize(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let may_write = |parent: &Path| access(parent, AccessFlags::W_OK).is_ok();
    Ok(outside::trial_root(&here, &bundle, may_write))
}

/// A path as a shell takes it: one word, and no flag.
fn shell_word(path: &str) -> String {
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        for (path, word) in [
            ("web", "web"),
            ("a/b.c-d", "a/b.c-d"),
            ("dir with space", "'dir with space'"),
            ("it's", r"'it'\''s'"),
            ("-x", "./-x"),
            ("$(reboot)", "'$(reboot)'"),
            ("~x", "'~x'"),
        ] {
            assert_eq!(shell_word(path), word);
        }
    }

    #[test]
    fn the_appspec_is_made_last_and_nothing_stays_where_a_file_cannot_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let of = |path| StarterFile { path, text: "text".to_owned(), executable: false };
        let files = [of("appspec.yml"), of("hooks/stop.sh"), of("app/README.txt")];
        // A script that another process made in between.
        fs::create_dir(directory.path().join("hooks")).unwrap();
        fs::write(directory.path().join("hooks/stop.sh"), "other").unwrap();
        make_all(directory.path(), &files).unwrap_err();
        let stays = |path: &str| directory.path().join(path).exists();
        assert_eq!((stays("appspec.yml"), stays("app/README.txt"), stays("hooks/stop.sh")), (false, false, true));
        fs::remove_file(directory.path().join("hooks/stop.sh")).unwrap();
        make_all(directory.path(), &files).unwrap();
        assert!(files.iter().all(|file| stays(file.path)));
    }
}
