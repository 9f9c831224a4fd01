//! A source file as words and signs, without comments, literals and test-only items.

/// A word or a sign, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// An identifier, a number, or one character.
    pub text: String,
    /// Where it is, from 1.
    pub line: usize,
}

/// The words and signs of the program's part of a file.
pub fn tokens(source: &str) -> Vec<Token> {
    without_tests(&all_tokens(source))
}

fn all_tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let (end, is_token) = next(&chars, at);
        if is_token {
            tokens.push(Token { text: chars[at..end].iter().collect(), line });
        }
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

/// The end of the token that begins here, and whether it is a word or a sign.
fn next(chars: &[char], at: usize) -> (usize, bool) {
    let peek = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\n');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match chars[at] {
        '/' if peek(1) == '/' => (find(chars, at, |c| c == '\n'), false),
        '/' if peek(1) == '*' => (after_comment(chars, at), false),
        '"' => (after_text(chars, at), false),
        '\'' if peek(1) == '\\' => (find(chars, at + 3, |c| c == '\'') + 1, false),
        '\'' if peek(2) == '\'' => (at + 3, false),
        c if c.is_whitespace() => (at + 1, false),
        c if is_word(c) => {
            let end = find(chars, at, |c| !is_word(c));
            let prefix: String = chars[at..end].iter().collect();
            let raw = matches!(prefix.as_str(), "r" | "br" | "cr");
            let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
            if raw && chars.get(end + hashes) == Some(&'"') {
                (after_raw(chars, end, hashes), false)
            } else {
                (end, true)
            }
        }
        _ => (at + 1, true),
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(chars[*at])).unwrap_or(chars.len())
}

fn after_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_text(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn after_raw(chars: &[char], from: usize, hashes: usize) -> usize {
    let is_end = |at: &usize| {
        chars[*at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').take(hashes).count() == hashes
    };
    (from + hashes + 1..chars.len()).find(is_end).map_or(chars.len(), |at| at + 1 + hashes)
}

/// Without each item below `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const FOR_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let attribute = tokens[at..].iter().take(FOR_TESTS.len()).map(|token| token.text.as_str());
        if attribute.eq(FOR_TESTS) {
            at = after_item(tokens, at + FOR_TESTS.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The end of the item that begins here: its semicolon, or the end of its block.
fn after_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
