//! The files in which an agent leaves for the next one what its Install did (specs/codedeploy.md §5). They are written
//! and read in the CodeDeploy agent's format, so that either agent can follow the other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::plan::actions::{Action, Attributes, InstalledEntry, Plan};

/// What stands before the path of a SELinux rule in a cleanup file.
const SEMANAGE: &[u8] = b"semanage\0";

/// What a cleanup file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// What the last Install put on the host, in its order: directories before what is in them. Each path once.
    pub paths: Vec<PathBuf>,
    /// Paths for which it added a rule to the SELinux policy.
    pub selinux_rules: Vec<PathBuf>,
}

/// Reads a cleanup file. A last line that does not end is one whose writing was interrupted, and is left out, as are
/// paths that are not absolute.
pub fn read_cleanup(bytes: &[u8]) -> Cleanup {
    let mut cleanup = Cleanup::default();
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(&[][..], |end| &bytes[..end]);
    for line in whole.split(|b| *b == b'\n') {
        let (list, path) = match line.strip_prefix(SEMANAGE) {
            Some(path) => (&mut cleanup.selinux_rules, path),
            None => (&mut cleanup.paths, line),
        };
        let path = Path::new(OsStr::from_bytes(path));
        if path.is_absolute() {
            list.push(path.to_owned());
        }
    }
    let mut seen = std::collections::HashSet::new();
    cleanup.paths.retain(|path| seen.insert(path.clone()));
    cleanup
}

/// The cleanup file for what is on the host now: one path a line, which is removed from the last to the first. A path
/// with a line end in it has no place there: it would read as two others.
pub fn write_cleanup(installed: &[InstalledEntry]) -> Vec<u8> {
    let paths = installed.iter().map(|entry| entry.path.as_os_str().as_bytes());
    paths.filter(|path| !path.contains(&b'\n')).flat_map(|path| [path, b"\n"]).flatten().copied().collect()
}

#[derive(Serialize)]
struct Document<'a> {
    instructions: Vec<Instruction<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Instruction<'a> {
    Copy { source: PathBuf, destination: &'a Path },
    Mkdir { directory: &'a Path },
    Chmod { mode: String, file: &'a Path },
    Chown { owner: Option<String>, group: Option<String>, file: &'a Path },
}

/// `GROUP-install.json`: what an Install of this plan does. Nobody reads it back; people do.
///
/// # Errors
/// When a path is not UTF-8.
pub fn install_json(plan: &Plan, archive: &Path) -> Result<String, serde_json::Error> {
    let mut instructions = Vec::new();
    let mut permissions = Vec::new();
    for action in &plan.actions {
        match action {
            Action::Remove { .. } => {}
            Action::MakeDirectory { path, attributes } => {
                instructions.push(Instruction::Mkdir { directory: path });
                permissions.extend(given(path, attributes));
            }
            Action::KeepDirectory { path, attributes } => permissions.extend(given(path, attributes)),
            Action::PutFile { source, path, attributes, .. } => {
                instructions.push(Instruction::Copy { source: archive.join(source), destination: path });
                permissions.extend(given(path, attributes));
            }
            Action::PutLink { target, path, attributes, .. } => {
                instructions.push(Instruction::Copy { source: PathBuf::from(target), destination: path });
                permissions.extend(given(path, attributes));
            }
        }
    }
    instructions.append(&mut permissions);
    serde_json::to_string(&Document { instructions })
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
        let written = write_cleanup(&installed);
        assert_eq!(written, b"/srv\n/srv/a\n");
        assert_eq!(read_cleanup(&written).paths, [Path::new("/srv"), Path::new("/srv/a")]);
    }

    #[test]
    fn the_instructions_are_the_codedeploy_agents() {
        let attributes = |mode, uid| Attributes { mode, uid, ..Attributes::default() };
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
        assert_eq!(
            install_json(&plan, Path::new("/root/g/d-1/deployment-archive")).unwrap(),
            concat!(
                r#"{"instructions":[{"type":"mkdir","directory":"/srv"},"#,
                r#"{"type":"copy","source":"/root/g/d-1/deployment-archive/a","destination":"/srv/a"},"#,
                r#"{"type":"chmod","mode":"755","file":"/srv"},"#,
                r#"{"type":"chown","owner":"0","group":null,"file":"/srv/a"}]}"#
            )
        );
    }
}
