use super::*;

#[test]
fn text_for_messages_is_visible_and_short() {
    assert_eq!(quoted("a b"), "`a b`");
    assert_eq!(quoted("a\u{1b}[31m\n\u{202e}"), "`a\\u{1b}[31m\\n\\u{202e}`");
    assert_eq!(quoted(&"ä".repeat(100)), format!("`{}…`", "ä".repeat(60)));
}

#[test]
fn places_are_found_in_every_kind_of_line() {
    let source = Source::new("\u{feff}ä: b\r\nc\rdef\n");
    let at = |line, column, width| source.range(Position { line, column, width }).and_then(|range| source.text.get(range));
    assert_eq!(at(1, 4, 1), Some("b"));
    assert_eq!(at(1, 1, 1), Some("ä"));
    assert_eq!(at(2, 1, 1), Some("c"));
    assert_eq!(at(3, 2, 2), Some("ef"));
    assert_eq!(at(3, 2, 99), Some("ef"));
    assert_eq!(at(4, 7, 1), Some(""));
    assert_eq!(at(9, 1, 1), None);
    assert_eq!(at(0, 0, 0), None);
}

#[test]
fn without_the_text_the_place_is_still_named() {
    let mut findings = Findings::new("appspec.yml", 10);
    findings.add(Code::UnknownKey, Some(Position { line: 3, column: 5, width: 1 }), "odd").help("remove it");
    let text = render(&findings.into_list(), "");
    assert!(text.contains("appspec.yml:3:5") && text.contains("remove it"), "{text}");
}
