//! The maps of the two halves of core hold: each `lib.rs` draws its modules on floors, the lowest first, and a module
//! imports only from floors below its own. So there is no circle either.
//!
//! The test reads the sources of the program: `mod` by `mod` from `lib.rs` on, without test-only modules.

use std::collections::BTreeMap;
use std::path::Path;

#[path = "layers/imports.rs"]
mod imports;
#[path = "layers/tokens.rs"]
mod tokens;

use imports::{Import, SourceTree};

/// A floor's number for each name on it, from 0, and the line of the name.
type Floors = BTreeMap<String, (usize, usize)>;

/// The floors that the first `text` block of a page of documentation draws. In a line the names come first, and two
/// spaces end them; a line with an arrow ends a floor.
fn floors(lib: &str) -> Floors {
    let mut floors = Floors::new();
    let mut floor = 0;
    let lines = lib.lines().enumerate().map(|(index, line)| (index + 1, line));
    let of_page = lines.map_while(|(number, line)| Some((number, line.strip_prefix("//!")?)));
    let block = of_page.skip_while(|(_, line)| line.trim() != "```text").skip(1);
    for (number, line) in block.take_while(|(_, line)| line.trim() != "```") {
        if line.trim_start().starts_with('^') {
            floor += 1;
            continue;
        }
        let line = line.strip_prefix(' ').unwrap_or(line);
        let names = line.split("  ").next().unwrap_or_default();
        floors.extend(names.split_whitespace().map(|name| (name.to_owned(), (floor, number))));
    }
    floors
}

/// The faults of a crate, one line each; `read` reads its sources by path.
fn faults(read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let lib = read("lib.rs").unwrap_or_default();
    let floors = floors(&lib);
    let tree = SourceTree::read(read);
    let mut faults = tree.missing.clone();
    for (module, line) in &tree.modules {
        if !floors.contains_key(module) {
            faults.push(format!("lib.rs:{line}: {module} has no place on the map"));
        }
    }
    for (name, (_, line)) in &floors {
        // A name with a hyphen is a whole crate's, which stands below.
        let is_crate = name.contains('-') && lib.contains(&format!("use {}::", name.replace('-', "_")));
        if !is_crate && !tree.modules.contains_key(name) {
            faults.push(format!("lib.rs:{line}: {name} on the map is no module"));
        }
    }
    faults.extend(tree.imports.iter().filter_map(|import| against(&floors, import)));
    faults
}

/// Why an import is not allowed; `None` if it is.
fn against(floors: &Floors, Import { file, line, from, to }: &Import) -> Option<String> {
    let ((own, _), (other, _)) = (floors.get(from)?, floors.get(to)?);
    let place = match other.cmp(own) {
        std::cmp::Ordering::Less => return None,
        std::cmp::Ordering::Equal => "on the same floor of the map",
        std::cmp::Ordering::Greater => "above it on the map",
    };
    Some(format!("{file}:{line}: {from} imports {to}, which stands {place}"))
}

/// The faults of the crate whose `src` is in this directory of core.
#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn faults_of(directory: &str) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let found = faults(&|path| std::fs::read_to_string(sources.join(path)).ok());
    found.iter().map(|fault| format!("agent/core/{directory}/{fault}")).collect()
}

#[test]
fn the_modules_of_core_import_from_lower_floors_only() {
    let found = faults_of("src");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_modules_of_documents_import_from_lower_floors_only() {
    let found = faults_of("documents/src");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

const LIB: &str = "//! ```text
//! hostler-below    words
//!     ^
//! low other        more words
//!                  and what they are for
//!     ^
//! high             decides
//! ```
pub use hostler_below::word;
pub mod high;
pub mod low;
pub mod other;
#[cfg(test)]
mod golden;
";

/// The faults of a crate of these files.
fn faults_in(files: &[(&str, &str)]) -> Vec<String> {
    let all = |path: &str| match files.iter().find(|(name, _)| *name == path) {
        Some((_, text)) => Some((*text).to_owned()),
        None => match path {
            "lib.rs" => Some(LIB.to_owned()),
            "high.rs" | "low.rs" | "other/mod.rs" => Some("//! See [`crate::high`].\n".to_owned()),
            _ => None,
        },
    };
    faults(&all)
}

#[test]
fn an_import_against_the_map_is_found_however_it_is_written() {
    for (file, text, fault) in [
        ("low.rs", "use crate::high::Word;", "low.rs:1: low imports high, which stands above it on the map"),
        (
            "low.rs",
            "\nuse crate::{\n    other as o,\n    word,\n};",
            "low.rs:3: low imports other, which stands on the same",
        ),
        ("low.rs", "use crate::{word::{self, Other}, high::{A, B}};", "low.rs:1: low imports high"),
        (
            "low.rs",
            "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' && crate::high::is(c) }",
            "low.rs:1: low imports high",
        ),
        ("low.rs", "pub use super::high;", "low.rs:1: low imports high"),
        ("low.rs", "mod inner {\n    use super::super::{self, high};\n}", "low.rs:2: low imports high"),
        ("other/mod.rs", "use self::super::{super::nothing, low::{Low}};", "other/mod.rs:1: other imports low"),
    ] {
        let found = faults_in(&[(file, text)]);
        assert!(found.len() == 1 && found[0].starts_with(fault), "{text}: {found:?}");
    }
    let child = faults_in(&[("low.rs", "mod child;"), ("low/child.rs", "\nuse super::super::high;")]);
    assert!(child.len() == 1 && child[0].starts_with("low/child.rs:2: low imports high"), "{child:?}");
}

#[test]
fn what_the_program_is_not_built_of_is_no_import() {
    for text in [
        "// use crate::high;\n/* use crate::high; /* nested */ use crate::high; */",
        "const A: &str = \"use crate::high; \\\" use crate::high;\";\nconst B: &str = r#\"\" crate::high::x\"#;",
        "#[cfg(test)]\nmod tests {\n    use crate::high;\n    fn f() { if true {} }\n}\nuse crate::word;",
        "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;",
        "#[cfg(test)]\nuse crate::high::{A, B};\npub(crate) fn f(x: [u8; 3]) {}",
        "use super::word;\nuse std::high;\nmod inner {\n    use super::high;\n}",
    ] {
        assert_eq!(faults_in(&[("low.rs", text)]), [""; 0], "{text}");
    }
    assert_eq!(faults_in(&[("high.rs", "use crate::{low, other::Other};")]), [""; 0]);
}

#[test]
fn a_map_is_complete_and_names_modules_only() {
    let without = |from: &str, to: &str| faults_in(&[("lib.rs", &LIB.replace(from, to))]);
    assert_eq!(without("low other ", "low       "), ["lib.rs:12: other has no place on the map"]);
    assert_eq!(without("pub mod other;", ""), ["lib.rs:4: other on the map is no module"]);
    assert_eq!(without("use hostler_below", "use hostler_beside"), ["lib.rs:2: hostler-below on the map is no module"]);
    assert_eq!(faults_in(&[("low.rs", "mod child;")]), ["low.rs:1: the file of child is not found"]);
    let circle = faults_in(&[("low.rs", "use crate::other;"), ("other/mod.rs", "use crate::low;")]);
    assert_eq!(circle.len(), 2, "{circle:?}");
}
