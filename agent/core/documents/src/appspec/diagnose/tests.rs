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
    let at = |line, column, width| {
        let picture = source.picture(Position { line, column, width }, false)?;
        picture.text.get(picture.range).map(str::to_owned)
    };
    assert_eq!(at(1, 4, 1), Some("b".to_owned()));
    assert_eq!(at(1, 1, 1), Some("ä".to_owned()));
    assert_eq!(at(2, 1, 1), Some("c".to_owned()));
    assert_eq!(at(3, 2, 2), Some("ef".to_owned()));
    assert_eq!(at(3, 2, 99), Some("ef".to_owned()));
    assert_eq!(at(4, 7, 1), Some("".to_owned()));
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

#[test]
fn what_may_be_secret_is_not_shown() {
    let mut findings = Findings::new("appspec.yml", 10);
    findings.add(Code::PlainSecret, Some(Position { line: 1, column: 4, width: 3 }), "odd").conceal();
    let text = render(&findings.into_list(), "ab KEY: hunter2");
    assert!(text.contains("KEY") && !text.contains("hunter2") && !text.contains("ab "), "{text}");
}

#[test]
fn lines_that_nobody_could_look_at_are_left_out() {
    let mut findings = Findings::new("appspec.yml", 10);
    findings.add(Code::UnknownKey, Some(Position { line: 1, column: 5, width: 1 }), "odd");
    let text = render(&findings.into_list(), &"x".repeat(100_000));
    assert!(text.contains("appspec.yml:1:5") && text.len() < 200, "{text}");
}
