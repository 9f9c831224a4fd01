//! Reading through serde gives the same as the tree of `yaml`, which matches the CodeDeploy agent's reader.

use proptest::prelude::*;

use super::*;
use crate::yaml;

type Read = Result<Option<Vec<FlatEntry>>, u32>;

fn flat(text: &str, limits: &Limits) -> Read {
    read(text, limits).map_err(|error| match error {
        FlatYamlError::NotYaml(line) | FlatYamlError::Tag(line) => line,
        FlatYamlError::NoKeys => 0,
    })
}

/// The same from the tree.
fn tree(text: &str, limits: &Limits) -> Read {
    let document = yaml::parse(text, limits).map_err(|error| error.at.line)?;
    let Some(root) = document.root.filter(|node| !node.is_null()) else { return Ok(None) };
    let entries = root.as_mapping().ok_or(0_u32)?.entries();
    let entry = |entry: &yaml::Entry| FlatEntry {
        key: entry.key.clone(),
        value: entry.value.as_scalar().cloned(),
        line: entry.value.at.line,
    };
    Ok(Some(entries.iter().map(entry).collect()))
}

fn error(text: &str) -> String {
    read(text, &Limits::default()).unwrap_err().to_string()
}

const AS_THE_TREE: &[&str] = &[
    "---\n:log_dir: '/var/log/'\n:proxy_uri:\n:max_revisions: 5\n",
    "",
    "---\n",
    "# only this\n",
    "{}",
    "a: 1_0\nb: 010\nc: 0x10\nd: 0b11\ne: 1:20\nf: 1,000\ng: +5\nh: '90'\ni: 0o10\nj: 08\nk: '010'\n",
    "a: 1e3\nb: 5s\nc: 99999999999\nd: 99999999999999999999999999999999999999999999999\ne: 1e999\nf: .inf\ng: .nan\nh: -08",
    "a: .5\nb: 5.\nc: -.inf\nd: +.nan\ne: 0.0e+0\nf: 1__0\ng: 1_\nh: 2024-01-01\ni: 1.5",
    "a: yes\nb: y\nc: ''\nd: :true\ne: ~\nf: null\ng: Null\nh: nUll\ni: # c\nj: 1 # c\nk: yes   \n",
    "':a': b\n\":b\": c\n:c: :d\n? e\n: f\n1: 2\nyes: 3\n~: 4\n",
    "? [a]\n: b\nc: d",
    "[a, b]: c\nd: e",
    "{: 1}",
    "{a: 1, b: 2}",
    "a: !!str 010\nb: !!int 010\nc: !!int '5'\nd: !!bool yes\ne: !!null x\nf: !!binary aGVs\ng: !!binary '%'\nh: !!int 1_0",
    "a: !ruby/sym x\nb: !mine 5\nc: !<x> 5\nd: ! 5\ne: !!set {x}\n!!str f: 1",
    "a: !!str\nb: !\nc: !mine\nd: !!null\n",
    "a: &x 010\nb: *x",
    "a: &x b\n*x : c",
    "d: &d {x: 1}\n<<: *d\nx: 2",
    "<<: {x: 1}\nx: 2\ny: 3",
    "x: 2\n<<: [{x: 1, z: 1}, {z: 2}]",
    "'<<': {a: 1}",
    "a: |\n x\n y\nb: >\n x\n y\nc: |-\n yes\nd: >- # c\n  1:20",
    "a: |-\n  \"x\"",
    "a: |\nb: 1",
    "a: |+\n x\n\n\nb: 1\n",
    "a: x\n y\n z\nb: 1\n 2\nc: 'x\n  y'\nd: \"x\\\n  \\ty\"",
    "\u{feff}a: 1",
    "\u{feff}# c\n---\na: 1",
    "a: ü # ü\nb: 0x10",
    "a: 1\r\nb: 2\r\n",
    "a: 1\n---\nb: 2\n",
    "a: 1\n---\n]broken[\n",
    "a: 1\n...\n]",
    "a: 1\n--- x",
    "%YAML 1.1\n---\na: 1",
    ":a: 1\n:b: 2\n:a: 3\n':a': 4\n",
    "a: {b: 1, b: 2}",
    "{a: 1, a: 2}",
    "a:\n- 1\n- 2\nb:\n  c:\n    d: 1\ne: 1",
    "a: [1,\n2\n]\nb: {\n}\nc: 3",
    "a:\t1\n",
    "a: [1,\n\t2]\nb: 1",
    "{\n\ta: 1\n}\n",
    "a: 'x\n  \ty'\n",
    "a: |\n  x\n  \ty\n",
    "a: 1\n  \t\nb: 2\n",
    "a: 1 \t\n",
    "a: 1\n---\n\tb: 1\n",
];

#[test]
fn values_are_those_of_the_tree_as_they_are_written() {
    let limits = Limits::default();
    for text in AS_THE_TREE {
        assert_eq!(flat(text, &limits), tree(text, &limits), "{text:?}");
    }
}

#[test]
fn what_the_tree_refuses_is_refused_at_the_same_line() {
    let limits = Limits::default();
    for text in [
        "a: [",
        "{",
        "\n- a",
        "text",
        "5",
        "'q'",
        ": 1",
        "a: 1\n: 2\n",
        "a: 1\n]",
        "a: 1\n%b: 2",
        "a: *b",
        "a: &a [*a]",
        "a: &a\n  b: *a\n",
        "\ta: 1\n",
        "a: 1\n\tb: 2\n",
        "a:\n \tb: 2\n",
        "a: x\n\ty\n",
        "a: 1\n\t\nb: 2\n",
        "a: 1\n\t# c\n",
        "a: 1\n\t\n",
        "  \ta: 1",
        "a: 1\nb",
        "a: b: c",
        "a: @x",
        "a: \"\\q\"",
        "a: \"unterminated",
        "a: 1\n b: 2",
        "a: \u{0}",
    ] {
        let refused = flat(text, &limits);
        assert!(refused.is_err(), "{text:?}: {refused:?}");
        assert_eq!(refused, tree(text, &limits), "{text:?}");
    }
}

/// Ruby's reader fails for some of these and accepts others; no file of the CodeDeploy agent has them.
#[test]
fn a_tag_that_does_not_fit_is_named_with_its_line() {
    for text in ["b: 1\na: !!int 08", "b: 1\na: !!int x", "b: 1\na: !!float x", "b: 1\na: !!str [x]"] {
        assert_eq!(error(text), "line 2: the tag does not fit its value", "{text}");
    }
    assert_eq!(error("a: 1\n<<: 3"), "line 2: this is not YAML");
}

#[test]
fn no_error_shows_what_the_file_holds() {
    for text in ["s3cret: [", "a: &s3cret [*s3cret]", "a: *s3cret", "a: !!int s3cret", "s3cret"] {
        assert!(!error(text).contains("s3cret"), "{text}");
        assert!(!format!("{:?}", read(text, &Limits::default())).contains("s3cret"), "{text}");
    }
}

#[test]
fn what_aliases_stand_for_is_bounded() {
    let limits = Limits { yaml_nodes: 5_000, yaml_bytes: 50_000, ..Limits::default() };
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000), "*a, ".repeat(100));
    let mut tower = String::from("a0: &a0 x\n");
    for level in 1..200 {
        tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    for text in [&bomb, &long, &tower] {
        assert!(flat(text, &limits).is_err() && tree(text, &limits).is_err(), "{text}");
    }
    let many = format!("b: &b 1\na: [{}]\n", "*b, ".repeat(4_000));
    assert_eq!(flat(&many, &limits), tree(&many, &limits));
    assert!(flat(&many, &limits).is_ok(), "many aliases are no fault where all of them are small");
}

#[test]
fn nesting_is_bounded_before_the_stack_is_used_up() {
    for open in ["[", "{a: ", "- ", "? "] {
        assert!(flat(&open.repeat(100_000), &Limits::default()).is_err(), "{open}");
    }
    for (levels, fits) in [(DEPTH - 1, true), (DEPTH, false)] {
        let text = format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(flat(&text, &Limits::default()).is_ok(), fits, "{levels}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_as_the_tree_reads_it_or_refused(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \t\r\na<~\u{feff}\u{2028}0]{0,60}") {
        let limits = Limits { yaml_nodes: 50, yaml_bytes: 100, yaml_depth: 8, ..Limits::default() };
        if let (Ok(read), Ok(expected)) = (flat(&text, &limits), tree(&text, &limits)) {
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn lines_with_values_are_read_as_the_tree_reads_them(
        lines in prop::collection::vec(("[a:]{1,2}", "[-+]?[0-9:_.,xbeE]{1,6}|[a-z:~'\"!|#&]{0,4}"), 0..6)
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let limits = Limits::default();
        match (flat(&text, &limits), tree(&text, &limits)) {
            (Ok(read), expected) => prop_assert_eq!(Ok(read), expected),
            (Err(_), expected) => prop_assert!(expected.is_err() || text.contains('!')),
        }
    }
}
