use std::borrow::Cow;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::answer::{Rejected, accepted};
use super::awslogs;
use super::batch::{Added, Batch};
use super::encoding::Encoding;
use super::fair_queue::FairQueue;
use super::identity::{Fingerprint, Identity};
use super::lines::{Assembler, CUT_MARK, EVENT_BYTES, Ending};
use super::placeholders::{self, Names, expand};
use super::redact::{REDACTED, Redactor};
use super::rotation::{Found, Known, Packing, Sameness, compare, is_copy, rotated_name};
use super::service::{self, BATCH_BYTES, BATCH_EVENTS, EVENT_OVERHEAD, MESSAGE_BYTES, SPAN_MS};
use super::settings::{InitialPosition, LineRules, LogZone};
use super::timestamp::TimestampFormat;

fn events(batch: &mut Batch) -> Vec<(i64, String)> {
    let body: serde_json::Value = serde_json::from_slice(batch.finish()).unwrap();
    let list = body["logEvents"].as_array().unwrap().clone();
    list.iter().map(|e| (e["timestamp"].as_i64().unwrap(), e["message"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_batch_is_the_request_that_the_service_knows() {
    let mut batch = Batch::default();
    batch.begin("/a\"b", "s");
    assert_eq!(batch.add(7, "x\t\"\\\u{1}\n\u{e4}"), Added::Taken);
    let body: serde_json::Value = serde_json::from_slice(batch.finish()).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"logGroupName": "/a\"b", "logStreamName": "s",
            "logEvents": [{"timestamp": 7, "message": "x\t\"\\\u{1}\n\u{e4}"}]})
    );
    batch.begin("g", "s");
    assert_eq!((batch.events(), events(&mut batch)), (0, Vec::new()), "nothing of the last one stays");
}

#[test]
fn a_batch_keeps_every_limit_of_the_service() {
    let mut batch = Batch::default();
    batch.begin("g", "s");
    for _ in 0..BATCH_EVENTS {
        assert_eq!(batch.add(1, "x"), Added::Taken);
    }
    assert_eq!((batch.add(1, "x"), batch.is_full()), (Added::Full, true));

    batch.begin("g", "s");
    assert_eq!(batch.add(1, &"x".repeat(MESSAGE_BYTES + 9)), Added::Taken);
    assert_eq!((batch.counted_bytes(), batch.add(1, "")), (BATCH_BYTES, Added::Full));

    batch.begin("g", "s");
    assert_eq!(batch.add(0, "a"), Added::Taken);
    assert_eq!(batch.add(SPAN_MS, "b"), Added::Full);
    assert_eq!(batch.add(SPAN_MS - 1, "b"), Added::Taken);
    assert_eq!(batch.add(-1, "b"), Added::Full, "the span counts backwards too");

    batch.begin("g", "s");
    let control = "\u{1}".repeat(400_000);
    assert_eq!((batch.add(1, &control), batch.add(1, &control)), (Added::Taken, Added::Full), "memory is bounded");
}

#[test]
fn events_of_a_batch_are_put_in_the_order_of_their_times() {
    let mut batch = Batch::default();
    batch.begin("g", "s");
    for (at, message) in [(5, "a"), (3, "b"), (5, "c"), (3, "d")] {
        batch.add(at, message);
    }
    let wanted = [(3, "b"), (3, "d"), (5, "a"), (5, "c")].map(|(at, m)| (at, m.to_owned()));
    assert_eq!(events(&mut batch), wanted);
}

proptest! {
    // Its batches are megabytes; core's tests are for the edit-test loop.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 32))]

    #[test]
    fn no_batch_breaks_a_limit_and_each_is_valid_json(
        messages in proptest::collection::vec((0..3 * SPAN_MS, "\\PC{0,40}|[\\x00-\\x1f]{0,9}", 1usize..9000), 1..60),
    ) {
        let mut batch = Batch::default();
        batch.begin("g", "s");
        let mut taken = Vec::new();
        for (at, text, times) in &messages {
            let message = text.repeat(*times);
            if batch.add(*at, &message) == Added::Taken {
                taken.push((*at, message[..message.floor_char_boundary(MESSAGE_BYTES)].to_owned()));
            }
        }
        taken.sort_by_key(|(at, _)| *at);
        let counted: usize = taken.iter().map(|(_, m)| m.len() + EVENT_OVERHEAD).sum();
        prop_assert!(counted <= BATCH_BYTES && taken.len() <= BATCH_EVENTS);
        prop_assert!(taken.last().unwrap().0 - taken[0].0 < SPAN_MS);
        prop_assert_eq!(events(&mut batch), taken);
    }

    #[test]
    fn every_byte_is_in_one_event_however_they_arrive(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'x'), any::<u8>()], 0..300),
        pattern: bool,
    ) {
        let assembler = assembler(pattern.then_some(r"^\S"));
        let (mut at, mut text) = (0, 0);
        while let Some(piece) = assembler.next(&bytes[at..], Ending::Complete) {
            prop_assert!(piece.end > 0 && piece.text.end <= piece.end && !piece.cut);
            text += piece.text.len();
            at += piece.end;
        }
        prop_assert_eq!(at, bytes.len());
        prop_assert!(text <= bytes.len());
    }
}

fn assembler(pattern: Option<&str>) -> Assembler {
    let rules = LineRules { multi_line_start_pattern: pattern.map(str::to_owned), ..LineRules::default() };
    rules.compile(&TimeZone::UTC).unwrap().assembler
}

fn pieces(assembler: &Assembler, text: &str, ending: Ending) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(piece) = assembler.next(rest, ending) {
        if piece.is_event {
            found.push(String::from_utf8_lossy(&rest[piece.text.clone()]).into_owned());
        }
        rest = &rest[piece.end..];
    }
    found
}

#[test]
fn lines_become_events_and_the_last_one_waits() {
    let lines = assembler(None);
    assert_eq!(pieces(&lines, "a\r\n\nb", Ending::More), ["a", ""]);
    assert_eq!(pieces(&lines, "a\n\nb", Ending::Complete), ["a", "", "b"]);
    assert_eq!(pieces(&lines, "\0\0\0a\n\0\0b\n", Ending::More), ["a", "b"], "a hole is no text");
}

#[test]
fn several_lines_become_one_event() {
    let traces = assembler(Some(r"^\S"));
    let text = "Error\n  at a\n  at b\nnext\n";
    assert_eq!(pieces(&traces, text, Ending::More), ["Error\n  at a\n  at b"], "the last may go on");
    assert_eq!(pieces(&traces, text, Ending::Complete), ["Error\n  at a\n  at b", "next"]);
    assert_eq!(pieces(&traces, "a\n b", Ending::Complete), ["a\n b"]);
    assert_eq!(pieces(&traces, " b\na\n", Ending::Complete), [" b", "a"]);
}

#[test]
fn an_event_that_is_too_long_is_cut_between_characters() {
    let text = format!("{}\nb\n", "\u{e4}".repeat(EVENT_BYTES));
    let piece = assembler(None).next(text.as_bytes(), Ending::More).unwrap();
    assert!(piece.cut && piece.end <= EVENT_BYTES && piece.end + CUT_MARK.len() <= MESSAGE_BYTES);
    assert!(std::str::from_utf8(&text.as_bytes()[piece.text]).is_ok());
    let found = pieces(&assembler(None), &text, Ending::More);
    assert_eq!(found.concat().len(), text.len() - 2, "nothing is lost");

    let many = format!("start\n{}", " more\n".repeat(400_000));
    let found = pieces(&assembler(Some(r"^\S")), &many, Ending::More);
    assert!(found.len() >= 2 && found.iter().all(|event| event.len() <= EVENT_BYTES), "{}", found.len());
}

#[test]
fn encodings_have_their_names_and_newlines() {
    for (name, bytes, wanted) in [
        ("utf_8", &b"\xef\xbb\xbfa\xff"[..], "a\u{fffd}"),
        ("latin_1", b"\xe9", "\u{e9}"),
        ("cp1252", b"\x80", "\u{20ac}"),
        ("iso8859_15", b"\xa4", "\u{20ac}"),
        ("shift_jis", b"\x83\x65", "\u{30c6}"),
        ("euc_jp", b"\xa5\xc6", "\u{30c6}"),
        ("utf_16_le", b"a\0\r\0", "a"),
    ] {
        assert_eq!(Encoding::named(name).expect(name).decode(bytes), wanted, "{name}");
    }
    assert_eq!(Encoding::named("klingon"), None);
    let rules = LineRules { encoding: "utf-16le".to_owned(), ..LineRules::default() }.compile(&TimeZone::UTC).unwrap();
    // U+0A00 U+000A: a newline's byte inside a character, then a newline.
    let piece = rules.assembler.next(b"\x00\x0a\x0a\x00b\0", Ending::More).unwrap();
    assert_eq!((piece.end, piece.text), (4, 0..2));
}

fn at(format: &str, line: &str, base: &str) -> Option<String> {
    let base: jiff::Timestamp = base.parse().unwrap();
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let found = TimestampFormat::new(format, zone).unwrap().find(line.as_bytes(), base.as_millisecond())?;
    Some(jiff::Timestamp::from_millisecond(found).unwrap().to_string())
}

#[test]
fn times_are_found_in_lines() {
    let base = "2026-01-02T00:00:00Z";
    for (format, line, wanted) in [
        ("%Y-%m-%d %H:%M:%S,%f", "2026-01-01 10:00:00,123 INFO x", "2026-01-01T08:00:00.123Z"),
        ("%Y-%m-%dT%H:%M:%S%z", "x 2026-01-01T10:00:00+0100 y", "2026-01-01T09:00:00Z"),
        ("%d/%b/%Y:%H:%M:%S %z", "1.2.3.4 - [01/Jan/2026:10:00:00 +0000] \"GET", "2026-01-01T10:00:00Z"),
        ("%b %d %H:%M:%S", "Jan  1 10:00:00 host sshd", "2026-01-01T08:00:00Z"),
        ("%b %d %H:%M:%S", "Dec 31 10:00:00 host sshd", "2025-12-31T08:00:00Z"),
        ("%H:%M:%S", "10:00:00 x", "2026-01-02T08:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %Z", "2026-01-01 10:00:00 CST", "2026-01-01T08:00:00Z"),
        ("%m/%d/%y %I:%M:%S %p", "01/01/26 03:04:05 PM", "2026-01-01T13:04:05Z"),
    ] {
        assert_eq!(at(format, line, base).as_deref(), Some(wanted), "{format}: {line}");
    }
    assert_eq!(at("%Y-%m-%d", "no time", base), None);
    assert_eq!(at("%Y-%m-%d %H:%M:%S", "2026-06-31 00:00:00", base), None, "a 31st of June");
    assert!(TimestampFormat::new("%Q", TimeZone::UTC).is_err());
    assert!(TimestampFormat::new("%Z", TimeZone::UTC).unwrap_err().to_string().contains("is empty"));
    assert!(TimestampFormat::new("%Z %Y %Z", TimeZone::UTC).unwrap_err().to_string().contains("%Z twice"));
}

#[test]
fn the_name_of_a_zone_may_stand_anywhere() {
    // Noon in the zone of `at` is 10:00 UTC.
    let base = "2026-01-02T00:00:00Z";
    for (format, line, wanted) in [
        ("%a %b %d %H:%M:%S %Z %Y", "Thu Jan  1 12:00:00 UTC 2026 up", "2026-01-01T12:00:00Z"),
        ("%a %b %d %H:%M:%S %Z %Y", "Thu Jan  1 12:00:00 CST 2026 up", "2026-01-01T10:00:00Z"),
        ("%a %b %d %H:%M:%S %Z %Y", "Thu Jan  1 12:00:00 +03 2026 up", "2026-01-01T10:00:00Z"),
        ("[%Z] %Y-%m-%d %H:%M:%S", "x [GMT] 2026-01-01 12:00:00", "2026-01-01T12:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %Z", "2026-01-01 12:00:00 UTC x", "2026-01-01T12:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %Z", "2026-01-01 12:00:00", "2026-01-01T10:00:00Z"),
        ("%Y-%m-%d %H:%M:%S%Z", "2026-01-01 12:00:00Z x", "2026-01-01T12:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %Z", "2026-01-01 12:00:00 WARNING x", "2026-01-01T10:00:00Z"),
        ("%Y-%m-%d %H:%M:%S %%Z", "2026-01-01 12:00:00 %Z", "2026-01-01T10:00:00Z"),
    ] {
        assert_eq!(at(format, line, base).as_deref(), Some(wanted), "{format}: {line}");
    }
    assert_eq!(at("%b %d %H:%M:%S %Z %Y", "Jan  1 12:00:00 2026", base), None, "the name is not there");
}

#[test]
fn a_time_without_a_year_or_a_date_is_the_nearest_one() {
    for (format, line, base, wanted) in [
        // New Year, by a clock behind the lines, and by a clock ahead of them (noon is 10:00 UTC).
        ("%b %d %H:%M:%S", "Jan 01 00:00:02 x", "2027-12-31T21:59:57Z", "2027-12-31T22:00:02Z"),
        ("%b %d %H:%M:%S", "Dec 31 23:59:57 x", "2027-12-31T22:00:02Z", "2027-12-31T21:59:57Z"),
        // A program in a zone ahead: every line of its New Year's morning.
        ("%b %d %H:%M:%S", "Jan 01 09:00:00 x", "2027-12-31T16:00:00Z", "2028-01-01T07:00:00Z"),
        ("%j %H:%M:%S", "001 00:00:02 x", "2027-12-31T21:59:57Z", "2027-12-31T22:00:02Z"),
        ("%b %d %H:%M:%S", "Feb 29 12:00:00 x", "2028-02-29T12:00:00Z", "2028-02-29T10:00:00Z"),
        ("%b %d %H:%M:%S", "Jun 15 12:00:00 x", "2027-11-30T00:00:00Z", "2027-06-15T10:00:00Z"),
        // The same at midnight, for times without a date.
        ("%H:%M:%S", "00:00:02 x", "2027-03-01T21:59:57Z", "2027-03-01T22:00:02Z"),
        ("%H:%M:%S", "23:59:57 x", "2027-03-01T22:00:02Z", "2027-03-01T21:59:57Z"),
        ("%H:%M:%S", "13:00:00 x", "2027-03-01T20:00:00Z", "2027-03-01T11:00:00Z"),
    ] {
        assert_eq!(at(format, line, base).as_deref(), Some(wanted), "{format}: {line} at {base}");
    }
}

#[test]
fn secrets_are_taken_out() {
    let patterns = ["(?i)password=(?<secret>\\S+)".to_owned(), "AKIA[0-9A-Z]{16}".to_owned()];
    let values = ["hunter2hunter2".to_owned(), "abc".to_owned(), "line one\nline two".to_owned(), "q\"uote".to_owned()];
    let redactor = Redactor::new(&patterns, &values).unwrap();
    for (text, wanted) in [
        ("Password=x y", "Password=[redacted] y"),
        ("k AKIAABCDEFGHIJKLMNOP.", "k [redacted]."),
        ("xhunter2hunter2x", "x[redacted]x"),
        ("abc", "abc"),
        ("line two", "[redacted]"),
        ("{\"a\":\"q\\\"uote\"}", "{\"a\":\"[redacted]\"}"),
        ("plain", "plain"),
    ] {
        assert_eq!(redactor.redact(Cow::Borrowed(text)), wanted);
    }
    assert!(matches!(redactor.redact(Cow::Borrowed("plain")), Cow::Borrowed(_)));
    assert!(Redactor::default().is_empty());
    assert!(Redactor::new(&["(".to_owned()], &[]).unwrap_err().to_string().contains("unclosed group"));
    assert_eq!(REDACTED, "[redacted]");
}

#[test]
fn names_are_made_of_placeholders_and_of_what_the_service_takes() {
    let names = Names::default().with("instance_id", "i-1").with("hostname", "h");
    assert_eq!(expand("{instance_id}/{hostname}{x}{", &names), "i-1/h{x}{");
    assert_eq!(placeholders::unknown("{instance_id}{x}", placeholders::OF_HOST), Some("x".to_owned()));
    assert!(placeholders::has("a{file_name}", "file_name") && !placeholders::has("file_name", "file_name"));
    assert_eq!(service::group_name("a b:c*/\u{e4}").as_deref(), Some("a_b_c_/_"));
    assert_eq!(service::group_name("aws/x").as_deref(), Some("_aws/x"));
    assert_eq!(service::stream_name("arn:x*y").as_deref(), Some("arn_x_y"));
    assert_eq!(service::stream_name(&"x".repeat(600)).unwrap().len(), 512);
    assert_eq!(service::group_name(""), None);
}

#[test]
fn rejected_events_are_counted_once() {
    assert_eq!(accepted(b"{}", 10), Rejected::default());
    assert_eq!(accepted(b"not json", 10), Rejected::default());
    let body = br#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":2,"expiredLogEventEndIndex":3,"tooNewLogEventStartIndex":9}}"#;
    let rejected = accepted(body, 10);
    assert_eq!((rejected, rejected.all()), (Rejected { too_old: 2, expired: 1, too_new: 1 }, 4));
}

#[test]
fn turns_go_round() {
    let mut turns = FairQueue::default();
    let served: Vec<_> = (0..7).map(|_| turns.next([1, 2, 3]).unwrap()).collect();
    assert_eq!(served, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(turns.next([1, 4]), Some(4), "one that was never served comes first");
    assert_eq!(turns.next(Vec::new()), None);
}

fn identity(head: &[u8]) -> Identity {
    Identity { device: 1, inode: 2, born_ns: 3, head: Fingerprint::of(head) }
}

#[test]
fn a_file_is_told_from_its_successors_and_copies() {
    let content = b"banner\nline one\nline two\n";
    let identity = identity(content);
    let known = Known { identity: &identity, offset: 16, trail: Fingerprint::of(&content[..16]) };
    let found = Found { device: 1, inode: 2, born_ns: 3, size: 25, head: content, before: &content[..16] };
    assert_eq!(compare(known, found), Sameness::Same);
    assert_eq!(compare(known, Found { size: 10, before: b"", ..found }), Sameness::Rewritten, "truncated");
    let regrown = b"banner\nother on\nline two\n";
    let found_regrown = Found { head: regrown, before: &regrown[..16], ..found };
    assert_eq!(compare(known, found_regrown), Sameness::Rewritten, "grown again past the position");
    assert_eq!(compare(known, Found { before: &[0; 16], ..found }), Sameness::Rewritten, "a hole");
    assert_eq!(compare(known, Found { born_ns: 4, ..found }), Sameness::Other, "the inode was used again");
    assert_eq!(compare(known, Found { born_ns: 0, ..found }), Sameness::Same, "no time of birth");
    let copy = Found { inode: 9, born_ns: 9, ..found };
    assert_eq!((compare(known, copy), is_copy(known, copy)), (Sameness::Other, true));
    assert!(!is_copy(known, Found { inode: 9, ..found_regrown }));
    let empty = Identity { head: Fingerprint::default(), ..identity.clone() };
    let unseen = Known { identity: &empty, offset: 0, trail: Fingerprint::default() };
    assert!(!is_copy(unseen, copy), "nothing was seen that could be compared");
}

#[test]
fn rotated_names_are_known() {
    for (name, wanted) in [
        ("app.log.1", Some(Packing::Plain)),
        ("app.log.2.gz", Some(Packing::Gzip)),
        ("app.log-20261120", Some(Packing::Plain)),
        ("app.log-20261120.zst", Some(Packing::Zstd)),
        ("app-2026-11-20T10:00:00.log", Some(Packing::Plain)),
        ("app.1.log.gz", Some(Packing::Gzip)),
        ("app.log.gz", Some(Packing::Gzip)),
        ("app.log.old", Some(Packing::Plain)),
        ("app.log.1.xz", Some(Packing::Other)),
        ("app.log", None),
        ("app.log.errors", None),
        ("app-errors.log", None),
        ("app2.log", None),
        ("other.log.1", None),
    ] {
        assert_eq!(rotated_name("app.log", name), wanted, "{name}");
    }
}

const AWSLOGS: &str = "\
[general]
state_file = /var/awslogs/state/agent-state
use_gzip_http_content_encoding = true

# the system log
[/var/log/syslog]
datetime_format = %b %d %H:%M:%S
file = /var/log/syslog*
buffer_duration = 5000
log_stream_name = {instance_id}
initial_position = end_of_file
log_group_name = /var/log/syslog
multi_line_start_pattern = {datetime_format}
time_zone: UTC
encoding = latin_1
file_fingerprint_lines = 1-3
";

#[test]
fn the_old_agents_configuration_is_understood() {
    let settings = awslogs::read(AWSLOGS).unwrap();
    let [syslog] = settings.as_slice() else { panic!("{settings:?}") };
    assert_eq!((syslog.file.as_str(), syslog.gather_ms), ("/var/log/syslog*", 5000));
    assert_eq!(syslog.target.log_stream_name, "{instance_id}");
    assert_eq!(syslog.initial_position, InitialPosition::EndOfFile);
    assert_eq!(syslog.rules.time_zone, LogZone::Utc);
    assert_eq!(syslog.rules.datetime_format.as_deref(), Some("%b %d %H:%M:%S"));
    for (wrong, message) in [
        ("[a]\nfile = /x\nlog_group_name = g\n", "line 1: [a] has no log_stream_name"),
        ("file = /x", "line 1: there is no [section] above it"),
        ("[a]\nnonsense", "line 2: \"nonsense\" is neither"),
        ("[a]\nfile = x\nlog_group_name = g\nlog_stream_name = s", "line 2: file: \"x\" is not an absolute path"),
        ("[a]\nfile = /x\nlog_group_name = g\nlog_stream_name = {x}", "the placeholder {x}"),
        ("[a]\nfile = /x\nlog_group_name = g\nlog_stream_name = s\ncolour = red", "line 5: the key colour"),
        ("[a]\nfile = /x\nlog_group_name = g\nlog_stream_name = s\ndatetime_format = %Q", "%Q is not known"),
    ] {
        let error = awslogs::read(wrong).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let plain = awslogs::read("[DEFAULT]\nlog_group_name = g\n[a]\nfile = /x\nlog_stream_name = s").unwrap();
    assert_eq!(plain[0].target.log_group_name, "g");
    assert_eq!(plain[0].rules.multi_line_start_pattern.as_deref(), Some(r"^[^\s]"));
}
