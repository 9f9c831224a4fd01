//! The modules of a crate, and the names that each uses of the others.

use std::collections::BTreeMap;

use super::tokens::{Token, tokens};

/// An import: a top-level module of the crate names another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The file, below `src`.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The top-level module that contains the file.
    pub from: String,
    /// The named module.
    pub to: String,
}

/// The modules of a crate and their imports.
#[derive(Debug, Default)]
pub struct SourceTree {
    /// The modules at the top, with the lines of `lib.rs`.
    pub modules: BTreeMap<String, usize>,
    /// The imports between them.
    pub imports: Vec<Import>,
    /// Modules whose files are not found.
    pub missing: Vec<String>,
}

impl SourceTree {
    /// Reads a crate from its `lib.rs` on.
    pub fn read(read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut tree = Self::default();
        tree.file(read, ("lib.rs", &read("lib.rs").unwrap_or_default()), "", &[]);
        let Self { modules, imports, .. } = &mut tree;
        imports.retain(|import| modules.contains_key(&import.to) && import.from != import.to);
        tree
    }

    /// Reads a file of the module `path`, whose children lie in `directory`.
    fn file(
        &mut self,
        read: &dyn Fn(&str) -> Option<String>,
        (file, source): (&str, &str),
        directory: &str,
        path: &[String],
    ) {
        let tokens = tokens(source);
        for (line, name) in declared(&tokens) {
            if path.is_empty() {
                self.modules.insert(name.clone(), line);
            }
            let below = format!("{directory}{name}");
            let places = [format!("{below}.rs"), format!("{below}/mod.rs")];
            let Some((place, source)) = places.into_iter().find_map(|place| read(&place).map(|source| (place, source)))
            else {
                self.missing.push(format!("{file}:{line}: the file of {name} is not found"));
                continue;
            };
            let path: Vec<String> = path.iter().chain([&name]).cloned().collect();
            self.file(read, (&place, &source), &format!("{below}/"), &path);
        }
        let Some(from) = path.first() else { return };
        let named = Names::of(&tokens, path.len()).into_iter();
        self.imports.extend(named.map(|(line, to)| Import { file: file.to_owned(), line, from: from.clone(), to }));
    }
}

/// The modules that have files of their own: `mod NAME;`.
fn declared(tokens: &[Token]) -> Vec<(usize, String)> {
    let texts = |window: &[Token]| window[0].text == "mod" && window[2].text == ";";
    tokens.windows(3).filter(|window| texts(window)).map(|window| (window[1].line, window[1].text.clone())).collect()
}

/// Finds the names of the crate's root that a file uses.
struct Names<'a> {
    tokens: &'a [Token],
    /// The number of modules around the current position.
    depth: usize,
    found: Vec<(usize, String)>,
}

impl<'a> Names<'a> {
    fn of(tokens: &'a [Token], depth: usize) -> Vec<(usize, String)> {
        let mut names = Self { tokens, depth, found: Vec::new() };
        names.read();
        names.found
    }

    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn read(&mut self) {
        let (mut at, mut braces) = (0, 0);
        // The depths of braces at which inline modules of this file end.
        let mut inner = Vec::new();
        while at < self.tokens.len() {
            match self.text(at) {
                "mod" if self.text(at + 2) == "{" => {
                    inner.push(braces);
                    self.depth += 1;
                }
                "{" => braces += 1,
                "}" => {
                    braces -= 1;
                    if inner.last() == Some(&braces) {
                        inner.pop();
                        self.depth -= 1;
                    }
                }
                "crate" | "super" | "self" if self.is_path(at + 1) => {
                    at = self.path(at, 0);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn is_path(&self, at: usize) -> bool {
        self.text(at) == ":" && self.text(at + 1) == ":"
    }

    /// Reads a path or a tree of paths that first goes up by this many modules; returns the next position.
    fn path(&mut self, at: usize, up: usize) -> usize {
        match self.text(at) {
            "{" => self.group(at + 1, up),
            word => {
                let up = match word {
                    "crate" => self.depth,
                    "super" => up + 1,
                    "self" => up,
                    _ => {
                        let line = self.tokens.get(at).map(|token| token.line);
                        self.found.extend(line.filter(|_| up == self.depth).map(|line| (line, word.to_owned())));
                        return at + 1;
                    }
                };
                if self.is_path(at + 1) { self.path(at + 3, up) } else { at + 1 }
            }
        }
    }

    /// Reads the members of a group, up to its closing brace.
    fn group(&mut self, from: usize, up: usize) -> usize {
        let (mut at, mut begins, mut depth) = (from, true, 0);
        while at < self.tokens.len() {
            match self.text(at) {
                "}" if depth == 0 => return at + 1,
                "}" => depth -= 1,
                "," if depth == 0 => {
                    begins = true;
                    at += 1;
                    continue;
                }
                // The groups of a member's own path.
                "{" if !begins => depth += 1,
                _ if begins => {
                    begins = false;
                    at = self.path(at, up);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        at
    }
}
