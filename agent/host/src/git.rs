//! The commit of a directory, as `git` tells it.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostler_core::label::Label;
use hostler_core::text::head_that_fits;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Variables by which git would look at another work tree. Hooks of a repository have them.
const OTHER_PLACES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// How long git may take. Prevents: a large or remote work tree holds up a push.
const WITHIN: Duration = Duration::from_secs(10);

/// The most bytes of git's own words in a message.
const LONGEST_COMPLAINT: usize = 300;

/// The commit that is checked out where the directory lies, shortened by git, with `-dirty` if files of the directory
/// differ from it or are unknown to git. Files that git ignores do not count, nor do changes inside of a submodule. A
/// file that a filter (Git LFS) converts counts as changed once it was written again. `None` outside of a work tree.
///
/// # Errors
/// Why there is no label where a checkout is: git is absent, fails (a checkout of another user, no commit yet), or takes
/// longer than 10 seconds. A label is worth no failure of the caller.
pub fn commit_label(directory: &Path) -> Result<Option<Label>, String> {
    if is_in_checkout(directory) { label(directory) } else { Ok(None) }
}

fn label(directory: &Path) -> Result<Option<Label>, String> {
    let until = Instant::now() + WITHIN;
    let git = |arguments: &[String]| printed(git(directory, arguments), until);
    if git(&words(&["rev-parse", "--is-inside-work-tree"]))?.trim() != "true" {
        return Ok(None);
    }
    let commit = git(&words(&["rev-parse", "--verify", "--short", "HEAD"]))
        .map_err(|why| format!("{why} (is there a commit?)"))?;
    let mut status = without_filters(&git(&words(&["config", "--list", "--name-only", "-z"]))?)
        .ok_or("the checkout has a filter that cannot be turned off: its name has an equals sign")?;
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
    let label = format!("{}{dirty}", commit.trim());
    label.parse().map(Some).map_err(|_| format!("git says {label:?}, which is no label"))
}

/// Whether a repository is there to be asked: outside of one, no process is begun.
fn is_in_checkout(directory: &Path) -> bool {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    directory.ancestors().any(|above| above.join(".git").symlink_metadata().is_ok())
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
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_ALLOW_PROTOCOL", "none").env("LC_ALL", "C");
    OTHER_PLACES.iter().for_each(|name| _ = command.env_remove(name));
    command
}

/// What a command prints.
///
/// # Errors
/// Why it printed nothing of use, with the first line that it wrote on standard error.
fn printed(mut command: Command, until: Instant) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("git cannot be run ({error})"))?;
    let group = i32::try_from(child.id()).map(Pid::from_raw).map_err(|error| error.to_string())?;
    let (stdout, stderr) = (text_of(child.stdout.take()), text_of(child.stderr.take()));
    let within = || until.saturating_duration_since(Instant::now());
    let text = stdout.recv_timeout(within());
    let complaint = stderr.recv_timeout(within());
    if text.is_err() || complaint.is_err() {
        // It may just have ended.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let ended = child.wait().map_err(|error| error.to_string())?;
    let (Ok(text), Ok(complaint)) = (text, complaint) else {
        return Err(format!("git took longer than {} seconds", WITHIN.as_secs()));
    };
    if ended.success() {
        return text.ok_or_else(|| "git printed text that is not UTF-8".to_owned());
    }
    let complaint = complaint.unwrap_or_default();
    let first = complaint.lines().next().map(|line| line.strip_prefix("fatal: ").unwrap_or(line));
    Err(match first {
        Some(first) => format!("git says: {}", head_that_fits(first, LONGEST_COMPLAINT)),
        None => format!("git failed ({ended})"),
    })
}

/// What comes through a pipe, once it has ended; `None` within if it is not text.
fn text_of(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Option<String>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = pipe.is_some_and(|mut pipe| pipe.read_to_string(&mut text).is_ok());
        // The receiver is gone if it was too late.
        let _ = sender.send(read.then_some(text));
    });
    receiver
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
        let why = commit_label(&app).unwrap_err();
        assert!(why.starts_with("git says: ") && why.ends_with("(is there a commit?)"), "{why}");
        run(tree.path(), &["add", "."]);
        run(tree.path(), &["commit", "-q", "-m", "one"]);
        let commit = commit_label(&app).unwrap().unwrap();
        let is_commit = commit.as_str().len() >= 7 && commit.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_commit, "{commit}");
        fs::write(tree.path().join("other"), "2").unwrap();
        fs::write(app.join("ignored"), "").unwrap();
        assert_eq!(commit_label(&app), Ok(Some(commit.clone())), "the rest of the tree does not count");
        let dirty = format!("{commit}-dirty");
        assert_eq!(commit_label(tree.path()).unwrap().unwrap().as_str(), dirty);
        fs::write(app.join("new"), "").unwrap();
        assert_eq!(commit_label(&app).unwrap().unwrap().as_str(), dirty);
        assert_eq!(commit_label(&tree.path().join(".git")), Ok(None), "not in the work tree");
        fs::write(tree.path().join(".git/HEAD"), "nonsense").unwrap();
        let why = commit_label(&app).unwrap_err();
        assert!(why.starts_with("git says: ") && !why.contains("fatal"), "{why}");
    }

    #[test]
    fn a_directory_outside_of_every_work_tree_has_no_label() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(commit_label(directory.path()), Ok(None));
        assert_eq!(commit_label(&directory.path().join("absent")), Ok(None));
    }

    #[test]
    fn no_filter_that_the_checkout_names_runs() {
        let tree = work_tree();
        let (app, ran) = (tree.path().join("app"), tree.path().join("ran"));
        fs::write(tree.path().join(".gitattributes"), "app/* filter=evil.one\nother filter=two\n").unwrap();
        run(tree.path(), &["add", "."]);
        run(tree.path(), &["commit", "-q", "-m", "one"]);
        let commit = commit_label(&app).unwrap().unwrap();
        let touch = format!("touch '{}'; cat", ran.display());
        run(tree.path(), &["config", "filter.evil.one.clean", &touch]);
        run(tree.path(), &["config", "filter.evil.one.required", "true"]);
        run(tree.path(), &["config", "filter.two.process", &touch]);
        fs::write(app.join("file"), "2").unwrap();
        fs::write(tree.path().join("other"), "2").unwrap();
        assert_eq!(commit_label(tree.path()).unwrap().unwrap().as_str(), format!("{commit}-dirty"));
        assert!(!ran.exists(), "the filter ran");
        let _ = printed(git(tree.path(), &words(&["status", "--porcelain"])), Instant::now() + WITHIN);
        assert!(ran.exists(), "git itself runs it");
        // Without a way to turn it off, nothing is asked.
        fs::remove_file(&ran).unwrap();
        run(tree.path(), &["config", "filter.a=b.clean", &touch]);
        assert!(commit_label(tree.path()).unwrap_err().contains("an equals sign"));
        assert!(!ran.exists(), "the filter ran");
    }

    #[test]
    fn a_command_that_fails_is_told_by_its_own_words() {
        let told = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            printed(command, Instant::now() + Duration::from_secs(60))
        };
        let refused = "echo 'fatal: detected dubious ownership' >&2; echo 'To add an exception' >&2; exit 128";
        assert_eq!(told(refused).unwrap_err(), "git says: detected dubious ownership");
        assert_eq!(told("exit 3").unwrap_err(), "git failed (exit status: 3)");
        assert_eq!(told("echo warned >&2; echo one").unwrap(), "one\n");
        let absent = printed(Command::new("/nonexistent/git"), Instant::now() + WITHIN).unwrap_err();
        assert!(absent.starts_with("git cannot be run (No such file"), "{absent}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let began = Instant::now();
        let mut slow = Command::new("sh");
        slow.args(["-c", "echo one; sleep 60"]);
        let late = printed(slow, began + Duration::from_millis(50)).unwrap_err();
        assert_eq!(late, "git took longer than 10 seconds");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let mut quick = Command::new("echo");
        quick.arg("one");
        assert_eq!(printed(quick, began + Duration::from_secs(60)).as_deref(), Ok("one\n"));
    }
}
