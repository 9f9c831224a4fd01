//! The commit of a directory, as `git` tells it.

use std::path::Path;
use std::process::{Command, Stdio};

use hostler_core::label::Label;

/// Variables by which git would look at another work tree. Hooks of a repository have them.
const OTHER_PLACES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// The commit that is checked out where the directory lies, shortened by git, with `-dirty` if files of the directory
/// differ from it or are unknown to git. Files that git ignores do not count. `None` without git, outside of a work
/// tree, before the first commit, and when git fails: a label is worth no failure.
pub fn commit_label(directory: &Path) -> Option<Label> {
    let commit = git(directory, &["rev-parse", "--is-inside-work-tree", "--short", "HEAD"])?;
    let commit = commit.strip_prefix("true\n")?.trim();
    let changes = git(directory, &["status", "--porcelain", "--untracked-files=normal", "--", "."])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    format!("{commit}{dirty}").parse().ok()
}

/// What a command of git prints; `None` if it fails.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // A monitor is a program that the repository's configuration names.
    command.arg("-C").arg(directory).args(["-c", "core.fsmonitor=false"]).args(arguments);
    // Looking must not rewrite the index.
    command.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null());
    OTHER_PLACES.iter().for_each(|name| _ = command.env_remove(name));
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
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
}
