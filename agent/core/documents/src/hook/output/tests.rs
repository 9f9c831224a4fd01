use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn lines(most: usize, chunks: &[&[u8]]) -> Vec<String> {
    let mut splitter = LineSplitter::new(most);
    let mut lines = Vec::new();
    for chunk in chunks {
        splitter.push(chunk, |line| lines.push(line));
    }
    lines.extend(splitter.finish());
    lines
}

#[test]
fn lines_are_formatted_as_the_codedeploy_agent_does() {
    let at = date(2026, 3, 9).at(4, 5, 6, 7_000_000);
    assert_eq!(scripts_log_line(at, &Stream::Stdout.entry(" a")), "2026-03-09 04:05:06 [stdout] a\n");
    assert_eq!(
        deployments_log_line(at, &"d-ABCDEFGHI".parse().unwrap(), &Stream::Stderr.entry(" a  ")),
        "[2026-03-09 04:05:06.007] [d-ABCDEFGHI][stderr] a\n"
    );
    assert_eq!(event_entry("ApplicationStop"), "LifecycleEvent - ApplicationStop");
    assert_eq!(script_entry("scripts/a b.sh"), "Script - scripts/a b.sh");
    assert_eq!(script_entry("a\nScript - b"), "Script - aScript - b");
}

#[test]
fn escapes_and_bytes_that_are_not_text_do_not_reach_the_log() {
    for (raw, wanted) in [
        (&b"\x1b[1;31mred\x1b[0m text"[..], "red text"),
        (b"\x1b]0;title\x07after", "after"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b(Bplain\x1b7", "plain"),
        (b"\xc2\x9b31mred", "red"),
        (b"\x1b", ""),
        (b"\x1b[", ""),
        (b"\x1b[31\xc3\xa4", "ä"),
        (b"10%\r20%\r", "10% 20%"),
        (b"a\tb\x00c\x08", "a\tbc"),
        (b"caf\xe9 \xff", "caf\u{fffd} \u{fffd}"),
        ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
    ] {
        assert_eq!(clean(raw), wanted, "{:?}", String::from_utf8_lossy(raw));
    }
}

#[test]
fn lines_are_put_together_from_pieces() {
    assert_eq!(lines(100, &[b"a", b"b\nc\n\nd"]), ["ab", "c", "", "d"]);
    assert_eq!(lines(100, &[b"a\r\n", b"\n"]), ["a", ""]);
    assert!(lines(100, &[b""]).is_empty());
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    assert_eq!(lines(4, &[b"abcd\n", b"abc", b"defgh\nx"]), ["abcd", "abcd [cut: 4 more bytes]", "x"]);
    assert_eq!(lines(2, &["aäb\n".as_bytes()]), ["a [cut: 2 more bytes]"], "a character is not cut in two");
}

#[test]
fn the_budget_bounds_size_and_rate_and_counts() {
    let mut budget = OutputBudget::new(100, 0, 0);
    assert!(budget.admit(60, 0) && !budget.admit(60, 0) && budget.admit(40, 0) && !budget.admit(1, 0));
    assert_eq!((budget.dropped(), budget.newly_dropped(), budget.newly_dropped()), (2, 2, 0));

    let mut budget = OutputBudget::new(u64::MAX, 10, 0);
    assert!(budget.admit(40, 0), "a burst of four seconds");
    assert!(!budget.admit(1, 50), "half a byte was earned");
    assert!(budget.admit(10, 1000));
    assert!(!budget.admit(41, 1_000_000), "the burst does not grow without end");
    assert!(budget.admit(40, 1_000_000));
}

#[test]
fn the_tail_holds_the_last_entries() {
    let mut tail = Tail::new(2);
    ["a", "b", "c"].into_iter().for_each(|entry| tail.push(entry));
    assert_eq!(tail.take(), ["b", "c"]);
    let mut none = Tail::new(0);
    none.push("a");
    assert!(none.take().is_empty());
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300), at in 0usize..300) {
        let (a, b) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(lines(16, &[a, b]), lines(16, &[&bytes]));
    }

    #[test]
    fn whatever_is_written_one_line_stays_one_printable_line(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for line in lines(64, &[&bytes]) {
            prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
        }
    }
}

#[test]
fn people_see_a_space_behind_the_mark() {
    for (entry, shown) in [("[stderr]no", "[stderr] no"), ("[stdout]", "[stdout] "), ("[hostler]cut", "[hostler]cut")] {
        assert_eq!(shown_entry(entry), shown);
    }
}
