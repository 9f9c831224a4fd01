//! The fenced blocks of a Markdown page, each with the comments right before it.
//! Tests of `agent/app` include this file by its path.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// The text after the fence's backticks.
    pub label: String,
    /// The lines between the fences, without the indentation of the opening one.
    pub text: String,
    /// The HTML comments between the last line of prose and the block: the first line of each, and its text.
    pub comments: Vec<(usize, String)>,
}

/// The blocks of a page in their order.
///
/// # Errors
/// The line of a fence or a comment that is not closed.
pub fn blocks(page: &str) -> Result<Vec<Block>, usize> {
    let (mut found, mut comments) = (Vec::new(), Vec::new());
    let mut lines = page.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let start = line.trim_start();
        if let Some((fence, label)) = opening(start) {
            let indentation = line.len() - start.len();
            let text = until(&mut lines, |line| is_closing(line, fence)).ok_or(number)?;
            let text = text.iter().map(|line| format!("{}\n", unindented(line, indentation))).collect();
            found.push(Block { line: number, label: label.to_owned(), text, comments: std::mem::take(&mut comments) });
        } else if let Some(comment) = start.strip_prefix("<!--") {
            comments.push((number, comment_text(comment, &mut lines).ok_or(number)?));
        } else if !start.is_empty() {
            comments.clear();
        }
    }
    Ok(found)
}

/// The fence and the label of a line that opens a block.
fn opening(line: &str) -> Option<(&str, &str)> {
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let (fence, label) = line.split_at(line.len() - line.trim_start_matches(mark).len());
    (fence.len() >= 3 && !label.contains('`')).then(|| (fence, label.trim()))
}

fn is_closing(line: &str, fence: &str) -> bool {
    let line = line.trim();
    line.starts_with(fence) && line.chars().all(|c| fence.starts_with(c))
}

/// The line without so many blanks at its beginning, or as many as it has.
fn unindented(line: &str, blanks: usize) -> &str {
    let own = line.len() - line.trim_start_matches(' ').len();
    &line[own.min(blanks)..]
}

/// The rest of a comment that begins with `first`.
fn comment_text<'a>(first: &'a str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    if let Some((text, _)) = first.split_once("-->") {
        return Some(text.trim().to_owned());
    }
    let mut text = first.to_owned();
    loop {
        let (_, line) = lines.next()?;
        let (part, ends) = line.split_once("-->").map_or((line, false), |(part, _)| (part, true));
        text = format!("{text}\n{part}");
        if ends {
            return Some(text.trim().to_owned());
        }
    }
}

fn until<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, last: impl Fn(&str) -> bool) -> Option<Vec<&'a str>> {
    let mut text = Vec::new();
    loop {
        let (_, line) = lines.next()?;
        if last(line) {
            return Some(text);
        }
        text.push(line);
    }
}

#[test]
fn blocks_have_their_lines_labels_and_comments() {
    let page = "Text.\n\n<!-- test: a\n  b -->\n\n```sh host\necho\n\n  two\n```\n1. Item\n   ~~~~ text\n   x\n  y\n   ~~~\n   ~~~~\n<!-- no -->\nProse.\n```\n```\n";
    let block = |line, label: &str, text: &str, comments: &[(usize, &str)]| Block {
        line,
        label: label.to_owned(),
        text: text.to_owned(),
        comments: comments.iter().map(|(line, text)| (*line, (*text).to_owned())).collect(),
    };
    let expected = [
        block(6, "sh host", "echo\n\n  two\n", &[(3, "test: a\n  b")]),
        block(12, "text", "x\ny\n~~~\n", &[]),
        block(19, "", "", &[]),
    ];
    assert_eq!(blocks(page).unwrap(), expected);
    assert_eq!(blocks("a `b`\n```sh\n"), Err(2));
    assert_eq!(blocks("a\n<!-- b\n"), Err(2));
    assert_eq!(blocks("```sh``` is inline\n").unwrap(), []);
}
