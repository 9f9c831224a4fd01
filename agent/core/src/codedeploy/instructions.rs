//! The files in which an agent records its Install for the next agent
//! (docs/protocols/codedeploy.md#records-of-an-install). They have the CodeDeploy agent's format, so that either agent
//! can follow the other.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::plan::actions::{Action, Attributes, InstalledEntry, Plan};

/// The prefix of a SELinux rule's path in a cleanup file.
const SEMANAGE: &[u8] = b"semanage\0";

/// The content of a cleanup file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// The paths that the last Install put on the host, in its order: directories before their content. Each path once.
    pub paths: Vec<PathBuf>,
    /// Paths for which it added a rule to the SELinux policy.
    pub selinux_rules: Vec<PathBuf>,
}

/// Reads a cleanup file. It leaves out an unfinished last line, whose writing was interrupted, and paths that are not
/// absolute.
pub fn read_cleanup(bytes: &[u8]) -> Cleanup {
    let mut cleanup = Cleanup::default();
    let mut seen = HashSet::new();
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(&[][..], |end| &bytes[..end]);
    for line in whole.split(|b| *b == b'\n') {
        let rule = line.strip_prefix(SEMANAGE);
        let path = Path::new(OsStr::from_bytes(rule.unwrap_or(line)));
        match rule {
            _ if !path.is_absolute() => {}
            Some(_) => cleanup.selinux_rules.push(path.to_owned()),
            None if seen.insert(path) => cleanup.paths.push(path.to_owned()),
            None => {}
        }
    }
    cleanup
}

/// The cleanup file of the installed paths, in pieces: one path a line; they are removed from the last to the first. It
/// leaves out a path with a line end, which would read as two others.
pub fn cleanup_file(installed: &[InstalledEntry]) -> impl Iterator<Item = &[u8]> {
    let paths = installed.iter().map(|entry| entry.path.as_os_str().as_bytes());
    paths.filter(|path| !path.contains(&b'\n')).flat_map(|path| [path, b"\n"])
}

/// Whether a cleanup file lists exactly the installed paths.
pub fn is_cleanup_file(bytes: &[u8], installed: &[InstalledEntry]) -> bool {
    let rest = cleanup_file(installed).try_fold(bytes, |rest, piece| rest.strip_prefix(piece));
    rest.is_some_and(<[u8]>::is_empty)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Instruction<'a> {
    Copy { source: Cow<'a, Path>, destination: &'a Path },
    Mkdir { directory: &'a Path },
    Chmod { mode: String, file: &'a Path },
    Chown { owner: Option<String>, group: Option<String>, file: &'a Path },
}

/// `GROUP-install.json`: the work of an Install of this plan, for people to read. No agent reads it back. A path that
/// is not UTF-8 cannot be written.
#[derive(Debug)]
pub struct InstallInstructions<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where the bundle is unpacked.
    pub archive: &'a Path,
}

impl Serialize for InstallInstructions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("InstallInstructions", 1)?;
        document.serialize_field("instructions", &List(self))?;
        document.end()
    }
}

/// Only one instruction at a time is in memory: a plan can be large.
struct List<'a>(&'a InstallInstructions<'a>);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InstallInstructions { plan, archive } = self.0;
        let things = plan.actions.iter().filter_map(|action| thing(action, archive));
        serializer.collect_seq(things.chain(plan.actions.iter().flat_map(permissions)))
    }
}

fn thing<'a>(action: &'a Action, archive: &Path) -> Option<Instruction<'a>> {
    Some(match action {
        Action::Remove { .. } | Action::KeepDirectory { .. } => return None,
        Action::MakeDirectory { path, .. } => Instruction::Mkdir { directory: path },
        Action::PutFile { source, path, .. } => {
            Instruction::Copy { source: Cow::Owned(archive.join(source)), destination: path }
        }
        Action::PutLink { target, path, .. } => {
            Instruction::Copy { source: Cow::Borrowed(Path::new(target)), destination: path }
        }
    })
}

fn permissions(action: &Action) -> Vec<Instruction<'_>> {
    match action {
        Action::Remove { .. } => Vec::new(),
        Action::MakeDirectory { path, attributes }
        | Action::KeepDirectory { path, attributes }
        | Action::PutFile { path, attributes, .. }
        | Action::PutLink { path, attributes, .. } => given(path, attributes),
    }
}

fn given<'a>(file: &'a Path, attributes: &Attributes) -> Vec<Instruction<'a>> {
    let mode = attributes.mode.map(|mode| Instruction::Chmod { mode: format!("{mode:o}"), file });
    let (owner, group) = (attributes.uid.map(|id| id.to_string()), attributes.gid.map(|id| id.to_string()));
    let owned = owner.is_some() || group.is_some();
    mode.into_iter().chain(owned.then_some(Instruction::Chown { owner, group, file })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::actions::InstalledKind;

    #[test]
    fn a_cleanup_file_is_read_as_the_codedeploy_agent_writes_it() {
        let text = b"/srv/app\n/srv/app/a b\nsemanage\0/srv/app/a b\n/srv/app\nrelative\n\n/srv/app/cut";
        let cleanup = read_cleanup(text);
        assert_eq!(cleanup.paths, [Path::new("/srv/app"), Path::new("/srv/app/a b")]);
        assert_eq!(cleanup.selinux_rules, [Path::new("/srv/app/a b")]);
        assert_eq!(read_cleanup(b""), Cleanup::default());
        assert_eq!(read_cleanup(b"/only/a/beginning"), Cleanup::default());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let entry = |path: &str, kind| InstalledEntry { path: path.into(), kind };
        let installed = [
            entry("/srv", InstalledKind::Directory),
            entry("/srv/a", InstalledKind::File),
            entry("/srv/a\n/etc/passwd", InstalledKind::File),
        ];
        let written: Vec<u8> = cleanup_file(&installed).flatten().copied().collect();
        assert_eq!(written, b"/srv\n/srv/a\n");
        assert!(is_cleanup_file(&written, &installed));
        for other in [&b""[..], b"/srv\n", b"/srv\n/srv/a", b"/srv\n/srv/a\n/srv/b\n", b"/srv\n/srv/b\n"] {
            assert!(!is_cleanup_file(other, &installed), "{other:?}");
        }
        assert_eq!(read_cleanup(&written).paths, [Path::new("/srv"), Path::new("/srv/a")]);
    }

    #[test]
    fn the_instructions_are_the_codedeploy_agents() {
        let attributes = |mode, uid| Attributes { mode, uid, ..Attributes::default() }.into();
        let plan = Plan {
            actions: vec![
                Action::MakeDirectory { path: "/srv".into(), attributes: attributes(Some(0o755), None) },
                Action::PutFile {
                    source: "a".into(),
                    path: "/srv/a".into(),
                    replaces: false,
                    attributes: attributes(None, Some(0)),
                },
            ],
            ..Plan::default()
        };
        let instructions = InstallInstructions { plan: &plan, archive: Path::new("/root/g/d-1/deployment-archive") };
        assert_eq!(
            serde_json::to_string(&instructions).unwrap(),
            concat!(
                r#"{"instructions":[{"type":"mkdir","directory":"/srv"},"#,
                r#"{"type":"copy","source":"/root/g/d-1/deployment-archive/a","destination":"/srv/a"},"#,
                r#"{"type":"chmod","mode":"755","file":"/srv"},"#,
                r#"{"type":"chown","owner":"0","group":null,"file":"/srv/a"}]}"#
            )
        );
    }
}
