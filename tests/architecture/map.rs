//! The map on a crate's page: its rooms on floors. The crate's imports must follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Import, Wings, imports, modules, modules_of_wing, root_text};

/// The floor of each room, the lowest is 0.
type Floors = BTreeMap<String, usize>;

/// All differences between a crate's sources and the map on its page; empty if they agree.
pub fn problems(directory: &Path) -> Vec<String> {
    let Some(floors) = floors(&root_text(directory)) else {
        return vec![format!("{}: the crate's page has no map", directory.display())];
    };
    let wings: Wings = floors.keys().filter_map(|room| Some(room.split_once('/')?.0.to_owned())).collect();
    let mut modules = modules(directory);
    modules.retain(|module| !wings.contains(module));
    modules.extend(wings.iter().flat_map(|wing| modules_of_wing(directory, wing)));
    let lacking = modules.iter().filter(|module| !floors.contains_key(*module));
    let unknown = floors.keys().filter(|room| !modules.contains(*room));
    // They lie in a crate below, whose rooms are below all of this one.
    let shown = shown(&root_text(directory));
    let imports: Vec<Import> =
        imports(directory, &wings).into_iter().filter(|import| !shown.contains(&import.of)).collect();
    let mut problems: Vec<String> = lacking.map(|module| format!("`{module}` has no place on the map")).collect();
    problems.extend(unknown.map(|room| format!("`{room}` is on the map and is no module")));
    problems.extend(imports.iter().filter_map(|import| against(import, &floors)));
    problems.extend(circle(&imports));
    problems
}

/// The rooms of other crates of the project that a crate shows as its own: `pub use hostler_x as room` and
/// `pub use hostler_x::{room, …}`.
fn shown(page: &str) -> BTreeSet<String> {
    let uses = page.split("pub use hostler_").skip(1).filter_map(|rest| rest.split(';').next());
    let names = uses.flat_map(|tree| {
        let names = tree.split_once(" as ").or_else(|| tree.split_once("::")).map_or("", |(_, names)| names);
        names.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned)
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The floors of the first `text` block of a crate's page. A line has names, and after two blanks their description; a
/// line with `^` leads to the next floor. The modules of a wing are named by themselves (`wing/module`).
fn floors(page: &str) -> Option<Floors> {
    let lines =
        page.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let block = lines.skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```");
    let (mut floors, mut floor) = (Floors::new(), 0);
    for line in block {
        if line.trim() == "^" {
            floor += 1;
            continue;
        }
        let names = line.split("  ").next().unwrap_or_default();
        floors.extend(names.split_whitespace().map(|name| (name.to_owned(), floor)));
    }
    (!floors.is_empty()).then_some(floors)
}

/// The problem of an import, if the map does not allow it.
fn against(import: &Import, floors: &Floors) -> Option<String> {
    let Import { file, line, room, of } = import;
    let place = format!("{}:{line}", file.display());
    let Some(floor) = floors.get(of) else { return Some(format!("{place}: `crate::{of}` is no room of the map")) };
    let Some(own) = floors.get(room) else { return Some(format!("{place}: `{room}` is no room of the map")) };
    (floor > own)
        .then(|| format!("{place}: `{room}` on floor {own} imports `{of}`, which is above it on floor {floor}"))
}

/// One circle between rooms, if there is any, with an import for each of its arrows.
fn circle(imports: &[Import]) -> Option<String> {
    let mut arrows: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
    for import in imports {
        arrows.entry(&import.room).or_default().entry(&import.of).or_insert(import);
    }
    let way = arrows.keys().find_map(|room| way_back(room, room, &arrows, &mut BTreeSet::new()))?;
    let steps = way
        .iter()
        .rev()
        .map(|import| format!("`{}` imports `{}` ({}:{})", import.room, import.of, import.file.display(), import.line));
    Some(format!("a circle: {}", steps.collect::<Vec<_>>().join(", ")))
}

/// The imports that lead from one room to another, the last one first.
fn way_back<'i>(
    from: &str,
    to: &str,
    arrows: &BTreeMap<&'i str, BTreeMap<&'i str, &'i Import>>,
    seen: &mut BTreeSet<&'i str>,
) -> Option<Vec<&'i Import>> {
    for (next, import) in arrows.get(from)? {
        if *next == to {
            return Some(vec![import]);
        }
        if seen.insert(next)
            && let Some(mut way) = way_back(next, to, arrows, seen)
        {
            way.push(import);
            return Some(way);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A crate of three rooms, `low` below `middle` below `high` and `tall`.
    fn house(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let page = "//! Words.\n//!\n//! ```text\n//! low             what is needed\n//!    ^\n//! middle\n//!    ^\n//! high tall       what needs it\n//! ```\n";
        let modules = "mod low;\npub mod middle;\nmod high;\nmod tall;\n#[cfg(test)]\nmod support;\n";
        let mut all = vec![("lib.rs", ""), ("low.rs", ""), ("middle/mod.rs", ""), ("high.rs", ""), ("tall.rs", "")];
        all.extend_from_slice(files);
        for (name, text) in all {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = if name == "lib.rs" { format!("{page}{modules}{text}") } else { text.to_owned() };
            fs::write(path, text).unwrap();
        }
        problems(directory.path())
    }

    #[test]
    fn imports_down_and_along_a_floor_are_allowed() {
        let none: [&str; 0] = [];
        assert_eq!(house(&[]), none);
        assert_eq!(house(&[("high.rs", "use crate::{low, middle::X};\nuse super::tall;")]), none);
        assert_eq!(house(&[("low.rs", "#[cfg(test)]\nmod tests {\n    use crate::high;\n}")]), none);
        assert_eq!(house(&[("middle/tests.rs", "use crate::high;")]), none);
    }

    #[test]
    fn rooms_of_another_crate_that_are_shown_as_own_are_below_all() {
        let shown = "pub use hostler_below as under;\npub use hostler_below::{\n    deep,\n    deeper,\n};\n";
        let low = ("low.rs", "use crate::{deeper, under::X};\nuse crate::deep;");
        let none: [&str; 0] = [];
        assert_eq!(house(&[("lib.rs", shown), low]), none);
        assert_eq!(house(&[low]).len(), 3);
    }

    #[test]
    fn an_import_upward_is_named_with_file_and_line() {
        for text in ["\nuse crate::{\n    high::X,\n};", "\n\nfn x() { super::super::high::y() }"] {
            let found = house(&[("middle/inner.rs", text)]);
            assert_eq!(found, ["middle/inner.rs:3: `middle` on floor 1 imports `high`, which is above it on floor 2"]);
        }
        let found = house(&[("low.rs", "use crate::Unknown;")]);
        assert_eq!(found, ["low.rs:1: `crate::Unknown` is no room of the map"]);
    }

    #[test]
    fn a_circle_on_one_floor_is_named() {
        let found = house(&[("high.rs", "use crate::tall;"), ("tall.rs", "\nuse crate::high;")]);
        assert_eq!(found, ["a circle: `high` imports `tall` (high.rs:1), `tall` imports `high` (tall.rs:2)"]);
    }

    /// The same crate with a wing of two rooms, one on the lowest floor and one on the highest.
    fn house_with_a_wing(files: &[(&str, &str)]) -> Vec<String> {
        let page = "//! ```text\n//! low wing/deep\n//!    ^\n//! middle\n//!    ^\n//! high wing/top\n//! ```\n";
        let directory = tempfile::tempdir().unwrap();
        let modules = "mod low;\nmod middle;\nmod high;\nmod wing;\n";
        let wing = ("wing/mod.rs", "pub mod deep;\nmod top;\n");
        let mut all = vec![("low.rs", ""), ("middle.rs", ""), ("high.rs", ""), wing];
        all.extend_from_slice(files);
        fs::create_dir_all(directory.path().join("wing")).unwrap();
        fs::write(directory.path().join("lib.rs"), format!("{page}{modules}")).unwrap();
        all.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
        problems(directory.path())
    }

    #[test]
    fn the_rooms_of_a_wing_have_their_own_floors() {
        let none: [&str; 0] = [];
        let top = ("wing/top.rs", "use super::deep;\nuse crate::{high::X, middle};");
        let middle = ("middle.rs", "use crate::wing::deep::X;");
        assert_eq!(house_with_a_wing(&[top, middle, ("wing/deep.rs", "use crate::low;")]), none);
        let found =
            house_with_a_wing(&[("middle.rs", "use crate::wing::{top, deep};"), ("wing/deep.rs", "use super::top;")]);
        assert_eq!(
            found,
            [
                "middle.rs:1: `middle` on floor 1 imports `wing/top`, which is above it on floor 2",
                "wing/deep.rs:1: `wing/deep` on floor 0 imports `wing/top`, which is above it on floor 2"
            ]
        );
        let found = house_with_a_wing(&[("wing/mod.rs", "pub mod deep;\nmod top;\nmod new;\nuse crate::high;")]);
        assert_eq!(found, ["`wing/new` has no place on the map", "wing/mod.rs:4: `wing` is no room of the map"]);
    }

    #[test]
    fn the_map_names_all_modules_and_no_others() {
        let found = house(&[("lib.rs", "mod forgotten;"), ("forgotten.rs", "")]);
        assert_eq!(found, ["`forgotten` has no place on the map"]);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("lib.rs"), "//! ```text\n//! gone\n//! ```\n").unwrap();
        assert_eq!(problems(directory.path()), ["`gone` is on the map and is no module"]);
        fs::write(directory.path().join("lib.rs"), "//! Words.\n").unwrap();
        assert_eq!(problems(directory.path()).len(), 1);
    }
}
