//! The places of each action of a plan: its staging directory and name, and its target.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hostler_core::ids::DeploymentId;
use hostler_core::plan::actions::{Action, Plan};

/// How an action takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// By a rename of its own.
    Alone,
    /// The top of a tree that is staged as a whole and takes effect by one rename.
    Top,
    /// Inside a tree; the number is the action that makes the tree's top.
    Inside(usize),
}

/// The plan's actions with their places.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub plan: &'a Plan,
    pub names: TemporaryNames,
    standing: Vec<Standing>,
}

impl<'a> Layout<'a> {
    pub fn new(deployment: &DeploymentId, plan: &'a Plan) -> Self {
        let mut tops: HashMap<&Path, usize> = HashMap::new();
        let mut standing = Vec::with_capacity(plan.actions.len());
        for (number, action) in plan.actions.iter().enumerate() {
            let made_above = action.path().parent().and_then(|parent| tops.get(parent)).copied();
            let makes = matches!(action, Action::MakeDirectory { .. });
            standing.push(match (action, made_above) {
                (Action::Remove { .. } | Action::KeepDirectory { .. }, _) => Standing::Alone,
                (_, Some(top)) => Standing::Inside(top),
                (_, None) if makes => Standing::Top,
                (_, None) => Standing::Alone,
            });
            if makes {
                tops.insert(action.path(), made_above.unwrap_or(number));
            }
        }
        Self { plan, names: TemporaryNames::of(deployment), standing }
    }

    pub fn standing(&self, action: usize) -> Standing {
        self.standing.get(action).copied().unwrap_or(Standing::Alone)
    }

    pub fn actions(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Action)> {
        self.plan.actions.iter().enumerate()
    }

    /// The actions of one tree, its top first.
    pub fn tree(&self, top: usize) -> impl DoubleEndedIterator<Item = (usize, &'a Action)> {
        self.actions().filter(move |(number, _)| *number == top || self.standing(*number) == Standing::Inside(top))
    }

    /// The directory and name of an action's staged result.
    pub fn staged(&self, number: usize, action: &Action) -> (PathBuf, OsString) {
        let (parent, name) = place(action.path());
        match self.standing(number) {
            Standing::Alone | Standing::Top => (parent.to_owned(), self.names.name(number).into()),
            Standing::Inside(top) => {
                let Some(top_path) = self.plan.actions.get(top).map(Action::path) else {
                    return (parent.to_owned(), name.to_owned());
                };
                let mut directory = place(top_path).0.join(self.names.name(top));
                // Joining an empty path would add a slash, and the cache of open directories knows paths literally.
                match parent.strip_prefix(top_path) {
                    Ok(inside) if !inside.as_os_str().is_empty() => directory.push(inside),
                    _ => {}
                }
                (directory, name.to_owned())
            }
        }
    }
}

/// A path's directory and name.
pub(super) fn place(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or(OsStr::new(".")))
}

/// The names that one deployment uses in directories that are not the agent's own.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    prefix: String,
}

impl TemporaryNames {
    pub fn of(deployment: &DeploymentId) -> Self {
        // `~` is in no deployment id, so no deployment's prefix is the beginning of another's.
        Self { prefix: format!(".hostler-{deployment}~") }
    }

    /// Staged content of an action; in a journal of the first version also its backup.
    pub fn name(&self, action: usize) -> String {
        format!("{}{action}", self.prefix)
    }

    /// A directory for backups.
    pub fn backups(&self) -> String {
        format!("{}backups", self.prefix)
    }

    /// In a journal of the first version: the backup if names could not be exchanged.
    pub fn old(&self, action: usize) -> String {
        format!("{}{action}.old", self.prefix)
    }

    /// In a journal of the first version: a backup whose place is taken by a file that must not be deleted.
    pub fn saved(&self, action: usize) -> String {
        format!(".saved{}{action}", self.prefix)
    }

    pub fn is_one(&self, name: &OsStr) -> bool {
        name.as_bytes().starts_with(self.prefix.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use hostler_core::plan::actions::Attributes;

    use super::*;

    fn make(path: &str) -> Action {
        Action::MakeDirectory { path: path.into(), attributes: Attributes::default().into() }
    }

    #[test]
    fn what_is_made_is_staged_as_one_tree_and_the_rest_beside_its_target() {
        let put = |path: &str| Action::PutLink {
            target: "x".to_owned(),
            path: path.into(),
            replaces: false,
            attributes: Attributes::default().into(),
        };
        let actions = vec![make("/srv/app"), make("/srv/app/a"), make("/opt/b"), put("/srv/app/a/x"), put("/etc/x")];
        let plan = Plan { actions, ..Plan::default() };
        let layout = Layout::new(&"d-1".parse().unwrap(), &plan);
        let staged: Vec<_> = layout
            .actions()
            .map(|(number, action)| {
                let (directory, name) = layout.staged(number, action);
                directory.join(name).display().to_string()
            })
            .collect();
        assert_eq!(
            staged,
            [
                "/srv/.hostler-d-1~0",
                "/srv/.hostler-d-1~0/a",
                "/opt/.hostler-d-1~2",
                "/srv/.hostler-d-1~0/a/x",
                "/etc/.hostler-d-1~4"
            ]
        );
    }
}
