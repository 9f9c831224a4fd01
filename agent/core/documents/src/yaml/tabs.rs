//! Tabs that indent lines. YAML forbids them, and libyaml, which the CodeDeploy agent uses, refuses them. The parser
//! accepts some such lines with a surprising meaning: `\ttimeout: 3` continues the value before it.

use super::{Position, count};

/// The lines that may begin with tabs: in quoted and block text, and in flow collections.
#[derive(Debug, Default)]
pub(crate) struct Tabs {
    allowed: Vec<(usize, usize)>,
}

impl Tabs {
    /// Allows tabs on the lines `first` to `last`, from the second of them on.
    pub(crate) fn allow(&mut self, first: usize, last: usize) {
        if last > first {
            self.allowed.push((first, last));
        }
    }

    /// The first line before `end` that a tab indents where none is allowed.
    pub(crate) fn first_refused(&mut self, text: &str, end: usize) -> Option<Position> {
        self.allowed.sort_unstable();
        let mut allowed = self.allowed.iter().peekable();
        let mut allowed_to = 0;
        for (index, line) in text.split('\n').enumerate().take(end.saturating_sub(1)) {
            let number = index + 1;
            while let Some((_, last)) = allowed.next_if(|(first, _)| *first < number) {
                allowed_to = allowed_to.max(*last);
            }
            let content = line.trim_start_matches([' ', '\t', '\r']);
            let indent = line.get(..line.len() - content.len()).unwrap_or_default();
            // After blanks, a tab is allowed if no content follows that it could indent.
            let counts = line.starts_with('\t') || !(content.is_empty() || content.starts_with('#'));
            if number > allowed_to && counts && indent.contains('\t') {
                return Some(Position { line: count(number), column: 1, width: count(indent.chars().count()) });
            }
        }
        None
    }
}
