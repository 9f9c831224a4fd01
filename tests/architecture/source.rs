//! The imports of a crate from itself, read from its sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A path that begins at the crate's root and leads out of its own room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The file of the path, relative to the sources.
    pub file: PathBuf,
    pub line: usize,
    /// The room that imports: a top-level module, or a module of a wing (`wing/module`).
    pub room: String,
    /// The room that it imports.
    pub of: String,
}

/// The top-level modules whose own modules have places on the map.
pub type Wings = BTreeSet<String>;

/// The top-level modules of the crate, without test modules.
pub fn modules(directory: &Path) -> BTreeSet<String> {
    modules_in(&root_text(directory))
}

/// The modules of a wing, as the map names them.
pub fn modules_of_wing(directory: &Path, wing: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(directory.join(wing).join("mod.rs")).unwrap_or_default();
    modules_in(&page).iter().map(|module| format!("{wing}/{module}")).collect()
}

fn modules_in(page: &str) -> BTreeSet<String> {
    let tokens = tokens(&without_tests(&blanked(page)));
    let named = tokens.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    named.map(|three| three[1].text.clone()).collect()
}

/// The text of the crate's `lib.rs` or `main.rs`.
pub fn root_text(directory: &Path) -> String {
    let root = ["lib.rs", "main.rs"].map(|name| directory.join(name)).into_iter().find(|path| path.exists());
    fs::read_to_string(root.unwrap()).unwrap()
}

/// All imports of the crate, without those of tests and of its root, which may import everything.
pub fn imports(directory: &Path, wings: &Wings) -> Vec<Import> {
    let mut found = Vec::new();
    for file in sources(directory) {
        let module = module_of(&file);
        let Some(room) = room_of(&module, wings) else { continue };
        let text = fs::read_to_string(directory.join(&file)).unwrap();
        for (line, path) in paths(&tokens(&without_tests(&blanked(&text)))) {
            let Some(of) = from_root(&path, &module).and_then(|path| room_of(&path, wings)) else { continue };
            if of == room {
                continue;
            }
            found.push(Import { file: file.clone(), line, room: room.clone(), of });
        }
    }
    // Several names of one room in one line.
    found.dedup();
    found
}

/// The files of the crate that are not tests, from its directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(directory.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "tests" || stem == "test_support" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The module of a file; the root is empty.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The room to which a path from the crate's root leads. A wing alone is named as it is.
fn room_of(path: &[String], wings: &Wings) -> Option<String> {
    let first = path.first()?;
    match path.get(1).filter(|_| wings.contains(first)) {
        Some(second) => Some(format!("{first}/{second}")),
        None => Some(first.clone()),
    }
}

/// The path from the crate's root, if this path leads there from this module.
fn from_root(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut place = module.to_vec();
    let mut rest = path.iter().peekable();
    match rest.next()?.as_str() {
        "crate" => place.clear(),
        "self" => {}
        "super" => {
            place.pop();
            while rest.next_if(|part| *part == "super").is_some() {
                place.pop();
            }
        }
        // A path of another crate, or of this same module.
        _ => return None,
    }
    Some(place.into_iter().chain(rest.cloned()).collect())
}

#[derive(Debug, Clone)]
struct Token {
    line: usize,
    text: String,
}

/// Names, `::`, and every other character by itself.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            let (text, after) = rest.split_at(length);
            if !first.is_whitespace() {
                found.push(Token { line: number + 1, text: text.to_owned() });
            }
            rest = after;
        }
    }
    found
}

/// Every path of every `use`, and every other path that begins with `crate`, `self` or `super`.
fn paths(tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        // `use` also names the captured lifetimes of a closure: `use<'a>`.
        if token.text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<") {
            at = use_tree(tokens, at + 1, &[], &mut found);
        } else if ["crate", "self", "super"].contains(&token.text.as_str()) {
            let mut path = vec![token.text.clone()];
            while tokens.get(at + 1).is_some_and(|next| next.text == "::") {
                let Some(next) = tokens.get(at + 2) else { break };
                path.push(next.text.clone());
                at += 2;
            }
            if path.len() > 1 {
                found.push((token.line, path));
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one branch of a `use`, at any depth of braces; returns its end.
fn use_tree(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|next| next.text != "}") {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|next| next.text == ","));
                }
                return at + 1;
            }
            "as" => at += 2,
            "," | "}" | ";" => break,
            name => {
                path.push(name.to_owned());
                at += 1;
            }
        }
    }
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |token| token.line);
    found.push((line, path));
    at
}

/// The strings of a source before its tests as they are written, each with the line in which it begins.
pub fn strings(text: &str) -> Vec<(usize, String)> {
    let signs: Vec<char> = text.split("#[cfg(test)]").next().unwrap_or_default().chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < signs.len() {
        let length = skipped(&signs, at);
        let part: String = signs[at..at + length.max(1)].iter().collect();
        let lines = part.matches('\n').count();
        if length > 0 && part.starts_with(['"', 'r']) {
            found.push((line, part));
        }
        line += lines;
        at += length.max(1);
    }
    found
}

/// The text with blanks in place of comments, strings and characters; line numbers stay.
fn blanked(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let (mut plain, mut at) = (String::with_capacity(text.len()), 0);
    while at < signs.len() {
        let length = skipped(&signs, at);
        if length == 0 {
            plain.push(signs[at]);
            at += 1;
        } else {
            plain.extend(signs[at..at + length].iter().map(|sign| if *sign == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    plain
}

/// The length of the comment, string or character that begins here; `0` if none does.
fn skipped(signs: &[char], at: usize) -> usize {
    let rest = &signs[at..];
    let until = |end: &[char], from: usize| {
        let found = rest[from..].windows(end.len()).position(|some| some == end);
        found.map_or(rest.len(), |found| from + found + end.len())
    };
    match rest {
        ['/', '/', ..] => until(&['\n'], 0) - 1,
        ['/', '*', ..] => until(&['*', '/'], 2),
        ['"', ..] => quoted(rest, '"'),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted(rest, '\''),
        ['r', '"' | '#', ..] if at == 0 || !signs[at - 1].is_alphanumeric() || signs[at - 1] == 'b' => {
            let marks = rest[1..].iter().take_while(|sign| **sign == '#').count();
            if rest.get(1 + marks) != Some(&'"') {
                return 0;
            }
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
            until(&end, 2 + marks)
        }
        _ => 0,
    }
}

fn quoted(rest: &[char], mark: char) -> usize {
    let mut at = 1;
    while rest.get(at).is_some_and(|sign| *sign != mark) {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The same, with blanks in place of items with `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut plain = text.to_owned();
    while let Some(begin) = plain.find(MARK) {
        let end = end_of_item(&plain[begin + MARK.len()..]) + begin + MARK.len();
        let blank: String = plain[begin..end].chars().map(|sign| if sign == '\n' { '\n' } else { ' ' }).collect();
        plain.replace_range(begin..end, &blank);
    }
    plain
}

/// The end of an item: its closing brace, or a `;` or `,` before any brace.
fn end_of_item(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, sign) in text.char_indices() {
        match sign {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && sign == '}' {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        let read = paths(&tokens(&without_tests(&blanked(text))));
        read.into_iter().map(|(line, path)| (line, path.join("::"))).collect()
    }

    fn are(text: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(line, path)| (*line, (*path).to_owned())).collect();
        assert_eq!(found(text), expected, "{text}");
    }

    #[test]
    fn all_branches_of_a_use_are_read() {
        are("use crate::a;", &[(1, "crate::a")]);
        are(
            "pub use crate::a::{self, B as C, d::{E, f::*}};",
            &[(1, "crate::a::self"), (1, "crate::a::B"), (1, "crate::a::d::E"), (1, "crate::a::d::f::*")],
        );
        are("use crate::{\n    a,\n    b::C,\n};", &[(2, "crate::a"), (3, "crate::b::C")]);
    }

    #[test]
    fn paths_in_the_middle_of_code_are_read() {
        are("fn x() {\n    crate::a::b(super::c::D, self.e);\n}", &[(2, "crate::a::b"), (2, "super::c::D")]);
    }

    #[test]
    fn comments_texts_and_tests_are_not_read() {
        are("// use crate::a;\n/* crate::a::b */ use crate::c;", &[(2, "crate::c")]);
        are(
            "let x = \"\\\" crate::a::b\"; let y = r#\"crate::a::b\"#; let z = '\"'; crate::d::e();",
            &[(1, "crate::d::e")],
        );
        are("fn x<'a>(y: &'a str) { crate::a::b(y) }", &[(1, "crate::a::b")]);
        are("#[cfg(test)]\nmod tests {\n    use crate::a;\n}\nuse crate::b;", &[(5, "crate::b")]);
        are("#[cfg(test)]\nuse crate::a;\nuse crate::b;", &[(3, "crate::b")]);
    }

    #[test]
    fn a_path_is_followed_to_the_crates_root() {
        let leads = |path: &str, module: &[&str]| {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
            from_root(&path, &module)?.first().cloned()
        };
        assert_eq!(leads("crate::a::b", &["x"]).as_deref(), Some("a"));
        assert_eq!(leads("super::a", &["x"]).as_deref(), Some("a"));
        assert_eq!(leads("super::a", &["x", "y"]).as_deref(), Some("x"));
        assert_eq!(leads("super::super::a", &["x", "y"]).as_deref(), Some("a"));
        assert_eq!(leads("std::fs", &["x"]), None);
    }
}
