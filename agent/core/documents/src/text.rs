//! Texts that the agent keeps, bounded by their size in JSON, the form in which it keeps them; and texts that it shows,
//! parts of which come from others.

use std::borrow::Cow;

/// Bytes of a text in a JSON document, without the quotes.
pub fn escaped_bytes(text: &str) -> usize {
    text.chars().map(escaped_char_bytes).sum()
}

fn escaped_char_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// A text for a terminal or a log. Line breaks and tabs stay; other control characters, Unicode's separators of lines and
/// paragraphs, and characters that change the direction of writing, are escaped as in Rust.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || ends_a_line(c) || turns_the_writing(c));
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    Cow::Owned(shown)
}

fn turns_the_writing(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The separators of lines and of paragraphs. (Control characters that end a line are not among them.)
fn ends_a_line(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character is shown as nothing, or formats what is around it: Unicode's Default_Ignorable_Code_Point and the
/// general category Cf (DerivedCoreProperties.txt and UnicodeData.txt of Unicode 16).
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A number with its noun: `1 error`, `2 errors`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The beginning of a text that takes at most `room` bytes as JSON.
pub fn head_that_fits(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += escaped_char_bytes(*c);
        taken > room
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The end of a text that takes at most `room` bytes as JSON. It begins at a line's beginning if that uses at least
/// half of the room.
pub fn tail_that_fits(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let cut = text.char_indices().rev().find(|(_, c)| {
        taken += escaped_char_bytes(*c);
        taken > room
    });
    let Some((at, c)) = cut else { return text };
    let tail = &text[at + c.len_utf8()..];
    if text[..at + c.len_utf8()].ends_with('\n') {
        return tail;
    }
    match tail.split_once('\n') {
        Some((_, whole_lines)) if escaped_bytes(whole_lines) >= room / 2 => whole_lines,
        _ => tail,
    }
}

/// A text of at most `room` bytes as JSON: all of it, or whole lines from its beginning, then the number of lines left
/// out, then `where_all`, which names the place of the full text or is empty. (A first line that is too long is cut.)
pub fn bounded(text: &str, room: usize, where_all: &str) -> String {
    /// Room for "… and 18446744073709551615 more lines" with its line break.
    const NOTE_BYTES: usize = 48;
    if escaped_bytes(text) <= room {
        return text.to_owned();
    }
    let head = head_that_fits(text, room.saturating_sub(NOTE_BYTES + escaped_bytes(where_all)));
    let whole_lines = head.rfind('\n').map(|at| &head[..at]).filter(|lines| escaped_bytes(lines) >= head.len() / 2);
    let kept = whole_lines.unwrap_or(head);
    let left_out = text[kept.len()..].trim_matches('\n').lines().count();
    match (whole_lines, left_out) {
        (Some(_), lines) => format!("{kept}\n… and {lines} more lines{where_all}"),
        (None, 0 | 1) => format!("{kept} … (cut){where_all}"),
        (None, lines) => format!("{kept} … (cut)\n… and {} more lines{where_all}", lines - 1),
    }
}

/// The newest lines that take at most `room` bytes as JSON, with their quotes and commas; the oldest of them may have
/// lost its beginning.
pub fn newest_lines(lines: Vec<String>, room: usize) -> Vec<String> {
    /// Two quotes and a comma.
    const AROUND: usize = 3;
    let mut left = room;
    let mut kept: Vec<String> = Vec::new();
    for line in lines.into_iter().rev() {
        let bytes = escaped_bytes(&line) + AROUND;
        if bytes <= left {
            left -= bytes;
            kept.push(line);
            continue;
        }
        let end = tail_that_fits(&line, left.saturating_sub(AROUND));
        if !end.is_empty() {
            kept.push(end.to_owned());
        }
        break;
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        let bounded = bounded(&text, 200, "; all in FILE");
        let (kept, note) = bounded.rsplit_once('\n').unwrap();
        let lines = kept.lines().count();
        assert_eq!(note, format!("… and {} more lines; all in FILE", 1000 - lines));
        assert!(text.starts_with(kept) && lines > 10, "{bounded}");
    }

    #[test]
    fn nothing_that_is_shown_acts_on_the_terminal() {
        let plain = "größer 値 🎉\n\tsecond line";
        assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain));
        let cleared = "a\u{1b}[2J\u{7}\r\u{9b}1m\u{7f}\0b\u{202e}c\u{61c}\u{2028}\u{2029}";
        let shown = "a\\u{1b}[2J\\u{7}\\r\\u{9b}1m\\u{7f}\\u{0}b\\u{202e}c\\u{61c}\\u{2028}\\u{2029}";
        assert_eq!(printable(cleared), shown);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        assert_eq!(bounded("short", 100, "; x"), "short");
        let one = bounded(&"x".repeat(500), 100, "");
        assert!(one.ends_with("x … (cut)") && one.len() <= 100, "{one}");
        let two = bounded(&format!("{}\nsecond\nthird", "x".repeat(500)), 100, "");
        assert!(two.ends_with("x … (cut)\n… and 2 more lines"), "{two}");
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_takes_no_more_than_its_room(
            text in "[\u{0}-\u{7f}\n\"\\\\ä€𝄞]{0,600}",
            lines in prop::collection::vec("[\u{0}-\u{7f}\"\\\\ä€𝄞]{0,80}", 0..20),
            room in 64usize..700,
        ) {
            let short = bounded(&text, room, "");
            prop_assert!(serde_json::to_string(&short).unwrap().len() <= room + 2, "{short:?}");
            prop_assert_eq!(escaped_bytes(&text) + 2, serde_json::to_string(&text).unwrap().len());
            let kept = newest_lines(lines.clone(), room);
            prop_assert!(serde_json::to_string(&kept).unwrap().len() <= room + 2, "{kept:?}");
            if let (Some(last), Some(newest)) = (kept.last(), lines.last()) {
                prop_assert!(newest.ends_with(last.as_str()));
            }
        }
    }
}
