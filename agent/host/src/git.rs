//! The commit of a directory, as `git` tells it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostler_core::label::Label;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Variables by which git would look at another work tree. Hooks of a repository have them.
const OTHER_PLACES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// How long git may take. Prevents: a large or remote work tree holds up a push.
const WITHIN: Duration = Duration::from_secs(10);

/// The commit that is checked out where the directory lies, shortened by git, with `-dirty` if files of the directory
/// differ from it or are unknown to git. Files that git ignores do not count, nor do changes inside of a submodule. A
/// file that a filter (Git LFS) converts counts as changed once it was written again. `None` without git, outside of a
/// work tree, before the first commit, and when git fails or takes longer than 10 seconds: a label is worth no failure.
pub fn commit_label(directory: &Path) -> Option<Label> {
    let until = Instant::now() + WITHIN;
    let git = |arguments: &[String]| printed(git(directory, arguments), until);
    let commit = git(&words(&["rev-parse", "--is-inside-work-tree", "--short", "HEAD"]))?;
    let commit = commit.strip_prefix("true\n")?.trim();
    let mut status = without_filters(&git(&words(&["config", "--list", "--name-only", "-z"]))?)?;
    // A submodule has filters of its own.
    status.extend(words(&[
        "status",
        "--porcelain",
        "--untracked-files=normal",
        "--ignore-submodules=dirty",
        "--",
        ".",
    ]));
    let dirty = if git(&status)?.is_empty() { "" } else { "-dirty" };
    format!("{commit}{dirty}").parse().ok()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The arguments that turn off the filters among the keys of git's configuration: they are programs that the checkout
/// names. `None` if one of them cannot be turned off.
fn without_filters(keys: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    for key in keys.split('\0') {
        let parts = key.strip_prefix("filter.").and_then(|rest| rest.rsplit_once('.'));
        let Some((name, "clean" | "process" | "required")) = parts else { continue };
        // git ends the key at the first equals sign.
        if name.contains('=') {
            return None;
        }
        let off = ["clean=", "process=", "required=false"];
        arguments.extend(off.iter().flat_map(|off| ["-c".to_owned(), format!("filter.{name}.{off}")]));
    }
    Some(arguments)
}

/// A command of git that runs no program which the repository's configuration names.
fn git(directory: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "core.fsmonitor=false"]).args(arguments);
    // Looking must not rewrite the index, and not fetch what a partial clone lacks.
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_ALLOW_PROTOCOL", "none");
    OTHER_PLACES.iter().for_each(|name| _ = command.env_remove(name));
    command
}

/// What a command prints; `None` if it fails or has not ended in time.
fn printed(mut command: Command, until: Instant) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().ok()?;
    let group = Pid::from_raw(i32::try_from(child.id()).ok()?);
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        // The receiver is gone if it was too late.
        let _ = sender.send(read.is_ok().then_some(text));
    });
    let text = receiver.recv_timeout(until.saturating_duration_since(Instant::now()));
    if text.is_err() {
        // It may just have ended.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let ended = child.wait().ok()?;
    text.ok()?.filter(|_| ended.success())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A work tree of the real git with one commit: `app/file` and `other`.
    fn work_tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("app")).unwrap();
        fs::write(tree.path().join("app/file"), "1").unwrap();
        fs::write(tree.path().join("other"), "1").unwrap();
        fs::write(tree.path().join(".gitignore"), "ignored\n").unwrap();
        run(tree.path(), &["init", "-q"]);
        tree
    }

    fn run(tree: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(tree)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
            .args(arguments);
        OTHER_PLACES.iter().for_each(|name| _ = command.env_remove(name));
        assert!(command.status().unwrap().success());
    }

    #[test]
    fn the_label_is_the_commit_and_says_whether_the_directory_differs_from_it() {
        let tree = work_tree();
        let app = tree.path().join("app");
        assert_eq!(commit_label(&app), None, "there is no commit yet");
        run(tree.path(), &["add", "."]);
        run(tree.path(), &["commit", "-q", "-m", "one"]);
        let commit = commit_label(&app).unwrap();
        let is_commit = commit.as_str().len() >= 7 && commit.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_commit, "{commit}");
        fs::write(tree.path().join("other"), "2").unwrap();
        fs::write(app.join("ignored"), "").unwrap();
        assert_eq!(commit_label(&app), Some(commit.clone()), "the rest of the tree does not count");
        let dirty = format!("{commit}-dirty");
        assert_eq!(commit_label(tree.path()).unwrap().as_str(), dirty);
        fs::write(app.join("new"), "").unwrap();
        assert_eq!(commit_label(&app).unwrap().as_str(), dirty);
        assert_eq!(commit_label(&tree.path().join(".git")), None, "not in the work tree");
        assert_eq!(commit_label(&tree.path().join("absent")), None);
    }

    #[test]
    fn a_directory_outside_of_every_work_tree_has_no_label() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(commit_label(directory.path()), None);
    }

    #[test]
    fn no_filter_that_the_checkout_names_runs() {
        let tree = work_tree();
        let (app, ran) = (tree.path().join("app"), tree.path().join("ran"));
        fs::write(tree.path().join(".gitattributes"), "app/* filter=evil.one\nother filter=two\n").unwrap();
        run(tree.path(), &["add", "."]);
        run(tree.path(), &["commit", "-q", "-m", "one"]);
        let commit = commit_label(&app).unwrap();
        let touch = format!("touch '{}'; cat", ran.display());
        run(tree.path(), &["config", "filter.evil.one.clean", &touch]);
        run(tree.path(), &["config", "filter.evil.one.required", "true"]);
        run(tree.path(), &["config", "filter.two.process", &touch]);
        fs::write(app.join("file"), "2").unwrap();
        fs::write(tree.path().join("other"), "2").unwrap();
        assert_eq!(commit_label(tree.path()).unwrap().as_str(), format!("{commit}-dirty"));
        assert!(!ran.exists(), "the filter ran");
        let _ = printed(git(tree.path(), &words(&["status", "--porcelain"])), Instant::now() + WITHIN);
        assert!(ran.exists(), "git itself runs it");
        // Without a way to turn it off, nothing is asked.
        fs::remove_file(&ran).unwrap();
        run(tree.path(), &["config", "filter.a=b.clean", &touch]);
        assert_eq!(commit_label(tree.path()), None);
        assert!(!ran.exists(), "the filter ran");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let began = Instant::now();
        let mut slow = Command::new("sh");
        slow.args(["-c", "echo one; sleep 60"]);
        assert_eq!(printed(slow, began + Duration::from_millis(50)), None);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let mut quick = Command::new("echo");
        quick.arg("one");
        assert_eq!(printed(quick, began + Duration::from_secs(60)).as_deref(), Some("one\n"));
    }
}
