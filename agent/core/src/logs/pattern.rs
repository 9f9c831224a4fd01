//! Patterns of paths. Names are bytes: a name that is not UTF-8 matches like any other.
//!
//! `*` is any number of characters, `?` one, `[a-z]` one character of a set and `[!a-z]` one outside it; a byte that is
//! not UTF-8 counts as a character. `**` as a whole component of a path is any number of directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// `[` without its end.
    #[error("a '[' at character {at} has no ']' in the same part of the path; the character itself is written '[[]'")]
    OpenSet {
        /// Counted from 1.
        at: usize,
    },
    /// `**` beside something else.
    #[error("'**' at character {at} must be a whole part of the path, as in '/a/**/b'; '*' matches within one part")]
    Recursive {
        /// Counted from 1.
        at: usize,
    },
}

/// Whether a text has characters with a meaning in patterns.
pub fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(u32),
    /// Any one character.
    One,
    /// Any number of characters.
    Many,
    /// Nothing, or directories with the `/` after them.
    Directories,
    /// One character inside one of the ranges, or (`true`) outside all of them.
    Set(bool, Vec<(u32, u32)>),
}

/// A pattern for one text: a name, or a whole path, where `*` and `?` match `/` too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

/// Numbers from here on are bytes that are not UTF-8.
const NO_CHARACTER: u32 = 0x11_0000;

const SLASH: u32 = '/' as u32;

/// The characters of a name, and the bytes in between that are not characters.
fn units(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().map(|byte| NO_CHARACTER + u32::from(*byte));
        chunk.valid().chars().map(u32::from).chain(invalid)
    })
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The mistake and its position.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let characters: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(character) = characters.get(at) {
            let rest = &characters[at..];
            let (token, length) = match character {
                '?' => (Token::One, 1),
                '*' if rest.get(1) == Some(&'*') => recursive(&characters, at)?,
                '*' => (Token::Many, 1),
                '[' => set(rest).ok_or(BadPattern::OpenSet { at: at + 1 })?,
                character => (Token::Literal(u32::from(*character)), 1),
            };
            tokens.push(token);
            at += length;
        }
        Ok(Self { tokens })
    }

    /// Whether the pattern matches the whole text.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        // Tracks all states at once: the product of the two lengths bounds the time for any content.
        let mut states = vec![false; self.tokens.len() + 1];
        self.enter(0, &mut states);
        for unit in units(bytes) {
            let mut next = vec![false; states.len()];
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
                match token {
                    Token::Many => self.enter(at, &mut next),
                    Token::Directories if unit == SLASH => self.enter(at, &mut next),
                    // Inside a directory's name: not yet after it.
                    Token::Directories => next[at] = true,
                    token if token.takes(unit) => self.enter(at + 1, &mut next),
                    _ => {}
                }
            }
            states = next;
        }
        states[self.tokens.len()]
    }

    /// Marks a state, and the states after it that need no character.
    fn enter(&self, from: usize, states: &mut [bool]) {
        for (at, state) in states.iter_mut().enumerate().skip(from) {
            *state = true;
            if !matches!(self.tokens.get(at), Some(Token::Many | Token::Directories)) {
                return;
            }
        }
    }

    /// Whether the pattern matches a name in a directory. A hidden name matches only if the pattern writes its dot.
    pub fn matches_name(&self, name: &OsStr) -> bool {
        let writes_dot = self.tokens.first() == Some(&Token::Literal(u32::from('.')));
        (writes_dot || !is_hidden(name)) && self.matches(name.as_bytes())
    }
}

impl Token {
    fn takes(&self, unit: u32) -> bool {
        match self {
            Self::Literal(literal) => *literal == unit,
            Self::Set(but, ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&unit)) != *but,
            Self::One | Self::Many | Self::Directories => true,
        }
    }
}

/// Whether a name begins with a dot.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// The token of `**`, and the number of characters of its text.
fn recursive(characters: &[char], at: usize) -> Result<(Token, usize), BadPattern> {
    let begins = at.checked_sub(1).is_none_or(|before| characters.get(before) == Some(&'/'));
    match (begins, characters.get(at + 2)) {
        (true, None) => Ok((Token::Many, 2)),
        (true, Some('/')) => Ok((Token::Directories, 3)),
        _ => Err(BadPattern::Recursive { at: at + 1 }),
    }
}

/// The token of a set, and the number of characters of its text. A `]` at the beginning belongs to the set.
fn set(characters: &[char]) -> Option<(Token, usize)> {
    let but = characters.get(1) == Some(&'!');
    let first = if but { 2 } else { 1 };
    let end = first + 1 + characters.get(first + 1..)?.iter().position(|character| *character == ']')?;
    let mut members = &characters[first..end];
    let mut ranges = Vec::new();
    while let [from, rest @ ..] = members {
        let (to, rest) = match rest {
            ['-', to, rest @ ..] => (to, rest),
            rest => (from, rest),
        };
        ranges.push((u32::from(*from), u32::from(*to)));
        members = rest;
    }
    Some((Token::Set(but, ranges), end + 1))
}

/// A part of a path's pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A name as it stands.
    Literal(String),
    /// Names of one directory.
    Names(Pattern),
    /// Any number of directories, none included.
    Directories,
}

/// A pattern of paths, split into the steps of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// The start of the walk: everything before the first component with a wildcard; the whole path without wildcards.
    pub base: PathBuf,
    /// The components to look for below; empty if the pattern is a path. [`Part::Directories`] is never the last one.
    pub parts: Vec<Part>,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The mistake in it.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        // Messages give positions in the whole text.
        Pattern::new(text)?;
        let mut base = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        let mut parts = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty()) {
            match part {
                "**" if parts.last() == Some(&Part::Directories) => {}
                "**" => parts.push(Part::Directories),
                part if has_wildcards(part) => parts.push(Part::Names(Pattern::new(part)?)),
                part if parts.is_empty() => base.push(part),
                part => parts.push(Part::Literal(part.to_owned())),
            }
        }
        if parts.last() == Some(&Part::Directories) {
            parts.push(Part::Names(Pattern { tokens: vec![Token::Many] }));
        }
        Ok(Self { base, parts })
    }

    /// The directory of the only file of a pattern without wildcards.
    pub fn parent(&self) -> &Path {
        self.base.parent().unwrap_or(Path::new("/"))
    }
}

#[cfg(test)]
mod tests;
