use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Document {
    parse(text, &Limits::default()).unwrap()
}

fn root(document: &Document) -> &Node {
    document.root.as_deref().unwrap()
}

fn scalar<'d>(document: &'d Document, key: &str) -> (&'d Scalar, Position) {
    let entry = root(document).as_mapping().unwrap().get(key).unwrap();
    (entry.value.as_scalar().unwrap(), entry.value.at)
}

#[test]
fn text_quoting_and_position_of_open_values_are_kept() {
    let document = read("a: 0644\nb: '0644'\r\n\"ü\":   1:30 # ü\nc: yes\nd:\ne: |\n  x\n  y\nf: !!str 0.0\n");
    let plain = |text: &str| Scalar { text: text.into(), style: Style::Plain, tag: None };
    assert_eq!(scalar(&document, "a"), (&plain("0644"), Position { line: 1, column: 4, width: 4 }));
    assert_eq!(scalar(&document, "b").0.style, Style::Quoted);
    assert_eq!(scalar(&document, "b").1, Position { line: 2, column: 4, width: 6 });
    assert_eq!(scalar(&document, "ü"), (&plain("1:30"), Position { line: 3, column: 8, width: 4 }));
    assert_eq!(scalar(&document, "c").0, &plain("yes"));
    assert!(scalar(&document, "d").0.is_null());
    assert_eq!(scalar(&document, "e").0.text, "x\ny\n");
    assert!(scalar(&document, "f").0.is_text());
}

#[test]
fn the_last_of_two_keys_wins_and_is_noted() {
    let document = read("a: 1\nb: 2\na: 3\n");
    assert_eq!(scalar(&document, "a").0.text, "3");
    let at = |line| Position { line, column: 1, width: 1 };
    assert_eq!(document.notes, [Note::DuplicateKey { key: "a".into(), first: at(1), again: at(3) }]);
}

#[test]
fn only_the_first_document_is_read() {
    let document = read("a: 1\n---\n]broken[\n");
    assert_eq!(scalar(&document, "a").0.text, "1");
    assert!(matches!(document.notes.as_slice(), [Note::AnotherDocument(Position { line: 2, .. })]), "{document:?}");
    assert_eq!(read("").root, None);
    assert!(root(&read("---\n")).is_null());
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let document = read("d: &d {x: 1, y: 2}\na: *d\nb:\n  <<: *d\n  y: 3\n");
    let mapping = root(&document).as_mapping().unwrap();
    assert_eq!(mapping.get("a").unwrap().value, mapping.get("d").unwrap().value);
    let b = mapping.get("b").unwrap().value.as_mapping().unwrap();
    assert_eq!(b.get("x").unwrap().value.as_scalar().unwrap().text, "1");
    assert_eq!(b.get("y").unwrap().value.as_scalar().unwrap().text, "3");
    assert!(matches!(document.notes.as_slice(), [Note::Alias(_)]));
}

#[test]
fn what_aliases_stand_for_is_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
    }
    let limits = Limits::default();
    assert!(matches!(parse(&bomb, &limits).unwrap_err().problem, YamlProblem::TooManyNodes(_)));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), "*a, ".repeat(1_000));
    assert!(matches!(parse(&long, &limits).unwrap_err().problem, YamlProblem::TooMuchText(_)));

    let mut tower = String::from("a0: &a0 x\n");
    for level in 1..200 {
        tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(matches!(parse(&tower, &limits).unwrap_err().problem, YamlProblem::TooDeep(128)));
    assert!(matches!(parse("a: &a [*a]\n", &limits).unwrap_err().problem, YamlProblem::AliasInsideItself));
}

#[test]
fn nesting_is_bounded_without_using_the_stack() {
    for open in ["[", "{a: ", "- ", "? "] {
        let problem = parse(&open.repeat(100_000), &Limits::default()).unwrap_err().problem;
        assert!(matches!(problem, YamlProblem::TooDeep(_) | YamlProblem::Syntax(_)), "{open}: {problem}");
    }
    let deepest = format!("{}{}", "[".repeat(128), "]".repeat(128));
    assert!(parse(&deepest, &Limits::default()).is_ok());
    assert!(parse(&format!("[{deepest}]"), &Limits::default()).is_err());
}

#[test]
fn many_keys_take_no_quadratic_time() {
    let text: String = (0..60_000).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(root(&read(&text)).as_mapping().unwrap().entries().len(), 60_000);
}

#[test]
fn tabs_do_not_indent() {
    for bad in [
        "\ta: 1\n",
        "a: 1\n\tb: 2\n",
        "a:\n \tb: 2\n",
        "a: x\n\ty\n",
        "a: 1\n\t\nb: 2\n",
        "a: 1\n\t# c\n",
        "a: 1\n\t\n",
    ] {
        let error = parse(bad, &Limits::default()).unwrap_err();
        assert!(matches!(error.problem, YamlProblem::Tab | YamlProblem::Syntax(_)), "{bad:?}: {error:?}");
    }
    for good in [
        "a:\t1\n",
        "a: [1,\n\t2]\n",
        "{\n\ta: 1\n}\n",
        "a: 'x\n  \ty'\n",
        "a: |\n  x\n  \ty\n",
        "a: 1\n  \t\nb: 2\n",
        "a: 1 \t\n",
        "a: 1\n---\n\tb: 1\n",
    ] {
        assert!(parse(good, &Limits::default()).is_ok(), "{good:?}");
    }
}

#[test]
fn a_colon_needs_a_key_before_it() {
    for bad in ["a: 1\n:\n", "a: 1\n: 2\n", "a:\n  - b: 1\n    :\n"] {
        assert!(parse(bad, &Limits::default()).unwrap_err().to_string().contains("a key is missing"), "{bad:?}");
    }
    for good in ["{: 1}\n", "~: 1\n"] {
        assert!(parse(good, &Limits::default()).is_ok(), "{good:?}");
    }
}

#[test]
fn syntax_errors_name_their_place() {
    let error = parse("a: 1\nb: [1,\n", &Limits::default()).unwrap_err();
    assert!(matches!(error.problem, YamlProblem::Syntax(_)));
    assert!(error.at.line >= 2, "{error:?}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \t\r\na<~\u{feff}\u{2028}0]{0,60}") {
        let limits = Limits { yaml_nodes: 50, yaml_bytes: 100, yaml_depth: 8, ..Limits::default() };
        if let Ok(document) = parse(&text, &limits) {
            let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap() + 1;
            if let Some(node) = document.root {
                prop_assert!(node.at.line <= lines);
            }
        }
    }
}
