//! The tables of rooms in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::modules;

/// The names in the first column of each table, by the sources in the line above the table (`agent/app/src`).
type Tables = BTreeMap<String, BTreeSet<String>>;

/// All differences between the tables and the sources of these crates; empty if they agree.
pub fn problems(text: &str, root: &Path, crates: &[String]) -> Vec<String> {
    let tables = tables(text);
    let mut problems = Vec::new();
    for sources in crates {
        let Some(named) = tables.get(sources) else {
            problems.push(format!("there is no table of ({sources})"));
            continue;
        };
        let rooms: BTreeSet<&str> = named.iter().filter_map(|name| name.split('/').next()).collect();
        let lacking = modules(&root.join(sources)).into_iter().filter(|module| !rooms.contains(module.as_str()));
        problems.extend(lacking.map(|module| format!("`{module}` of {sources} is in no table")));
    }
    for (sources, named) in &tables {
        let exists = |name: &&String| {
            let path = root.join(sources).join(name.trim_end_matches('/'));
            path.is_dir() || path.with_extension("rs").is_file()
        };
        let gone = named.iter().filter(|name| !exists(name));
        problems.extend(gone.map(|name| format!("`{name}` is in the table of {sources} and does not exist")));
    }
    problems
}

fn tables(text: &str) -> Tables {
    let (mut tables, mut sources) = (Tables::new(), None);
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("(`agent/")
            && let Some((path, _)) = rest.split_once("`)")
        {
            sources = Some(format!("agent/{path}"));
        } else if line.starts_with('#') {
            sources = None;
        }
        let (Some(sources), Some(row)) = (&sources, line.strip_prefix("| `")) else { continue };
        let column = row.split(" | ").next().unwrap_or_default();
        // The first backtick is cut off, so that every other piece is a name.
        let names = column.split('`').step_by(2).map(str::to_owned);
        tables.entry(sources.clone()).or_default().extend(names);
    }
    tables
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn rooms_without_a_row_and_rows_without_a_room_are_found() {
        let root = tempfile::tempdir().unwrap();
        let sources = root.path().join("agent/one/src");
        fs::create_dir_all(sources.join("hall")).unwrap();
        fs::write(sources.join("lib.rs"), "mod hall;\npub mod attic;\n#[cfg(test)]\nmod tests;\n").unwrap();
        for file in ["hall/mod.rs", "hall/door.rs", "attic.rs"] {
            fs::write(sources.join(file), "").unwrap();
        }
        let crates = ["agent/one/src".to_owned()];
        let found = |table: &str| problems(&format!("one (`agent/one/src`)\n\n{table}"), root.path(), &crates);
        let none: [&str; 0] = [];
        assert_eq!(found("| room | holds |\n|---|---|\n| `hall/` `attic` | `what` |\n"), none);
        assert_eq!(found("| `hall/door` | this |\n| `attic` | that |\n"), none);
        assert_eq!(found("| `hall/` | `attic` |\n"), ["`attic` of agent/one/src is in no table"]);
        let gone = ["`cellar` is in the table of agent/one/src and does not exist"];
        assert_eq!(found("| `hall/` `attic` `cellar` | this |\n"), gone);
        assert_eq!(problems("", root.path(), &crates), ["there is no table of (agent/one/src)"]);
    }
}
