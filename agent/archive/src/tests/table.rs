//! The table of docs/archives.md, row by row, with the real tools.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use hostler_core::appspec::lint::lint_archive;
use hostler_core::bundle::BundleType;

use super::support::Room;
use crate::test_support::skip;
use crate::{ArchiveError, UnpackOptions, Unpacked, detect};

/// Every program of the table that a host may lack.
const TOOLS: &[&str] =
    &["tar", "bsdtar", "zip", "7zz", "zstd", "gzip", "pigz", "bzip2", "xz", "python3", "setcap", "unzip"];
/// The least rows of the table. Fewer rows mean that the table was not read correctly.
const LEAST_ROWS: usize = 60;
/// Rows whose archives another program unpacked to the same files.
const LEAST_COMPARED: usize = 30;

struct Row {
    command: String,
    result: Expected,
}

#[derive(Debug)]
enum Expected {
    /// Accepted, with these warnings by name.
    Taken(Vec<String>),
    /// Refused, with these words in the message.
    Refused(String),
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/archives.md");
    let text = fs::read_to_string(path).unwrap();
    let table = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    table.map(row).collect()
}

fn row(line: &str) -> Row {
    let line = line.replace("\\|", "\u{1}");
    let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
    let [_, _, command, result, _, _] = cells.as_slice() else { panic!("not four cells: {line}") };
    let quoted = |text: &str, mark: char| text.split(mark).skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let result = match result.strip_prefix("refused: ") {
        Some(words) => Expected::Refused(quoted(words, '"').concat()),
        None => {
            assert!(result.starts_with("taken"), "neither taken nor refused: {line}");
            Expected::Taken(quoted(result, '`'))
        }
    };
    let command = command.strip_prefix('`').and_then(|command| command.strip_suffix('`')).unwrap().to_owned();
    Row { command, result }
}

fn shell(directory: &Path, command: &str) -> Output {
    let script = format!("set -euo pipefail\n{command}");
    // `head` ends before `tar` has written all.
    let script = if command.contains("| head -c") { script.replace("set -euo pipefail", "set -eu") } else { script };
    Command::new("bash").args(["-c", &script]).current_dir(directory).output().unwrap()
}

fn has(tool: &str) -> bool {
    shell(Path::new("/"), &format!("command -v {tool}")).status.success()
}

/// The tools of a command that are missing here. Where everything must be checked, none may be missing.
fn missing(command: &str) -> Option<&'static str> {
    let words = || command.split(|c: char| !c.is_ascii_alphanumeric());
    TOOLS.iter().copied().find(|tool| words().any(|word| word == *tool) && !has(tool))
}

fn tree(room: &Path) {
    let top = room.join("in");
    fs::create_dir_all(top.join("sub/deep")).unwrap();
    fs::write(top.join("appspec.yml"), "version: 0.0\nos: linux\n").unwrap();
    fs::write(top.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("sub/data"), (0..30_000_u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect::<Vec<_>>())
        .unwrap();
    fs::write(top.join("sub/deep/empty"), "").unwrap();
}

/// Every file with its content, and whether it can be executed.
fn files(directory: &Path) -> BTreeMap<String, (bool, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(path, file)| (format!("{name}/{path}"), file)));
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            found.insert(name, (executable, fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// The result of the program that usually unpacks archives of this kind; `None` if it refuses the archive.
fn by_another_program(room: &Path, kind: BundleType) -> Option<BTreeMap<String, (bool, Vec<u8>)>> {
    let out = room.join("out");
    fs::create_dir(&out).unwrap();
    let command = if kind == BundleType::Zip { "unzip -qq ../b" } else { "tar -xf ../b" };
    shell(&out, command).status.success().then(|| files(&out))
}

fn unpack(room: &Room, bundle: &File) -> Result<(BundleType, Unpacked), ArchiveError> {
    let kind = detect(bundle)?;
    Ok((kind, room.unpacked(bundle, kind, &UnpackOptions::default())?))
}

/// Whether the files were compared with another program's.
fn check(row: &Row) -> bool {
    let scratch = tempfile::tempdir().unwrap();
    tree(scratch.path());
    let made = shell(&scratch.path().join("in"), &row.command);
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{}: {}: {told}", row.command, made.status);
    let bundle = File::open(scratch.path().join("b")).unwrap();
    let room = Room::new();
    match (unpack(&room, &bundle), &row.result) {
        (Ok((kind, unpacked)), Expected::Taken(warnings)) => {
            let told: Vec<_> = lint_archive("b", &unpacked.adapted).iter().map(|found| found.code.name()).collect();
            assert_eq!(&told, warnings, "{}", row.command);
            let found = files(&room.destination());
            assert_eq!(found, files(&scratch.path().join("in")), "{}", row.command);
            let other = by_another_program(scratch.path(), kind);
            assert!(other.as_ref().is_none_or(|other| *other == found), "{}: {other:?}", row.command);
            other.is_some()
        }
        (Err(error), Expected::Refused(words)) => {
            let text = error.to_string();
            assert!(!words.is_empty() && text.contains(words), "{}: {text}", row.command);
            false
        }
        (found, expected) => panic!("{}: {found:?} and not {expected:?}", row.command),
    }
}

#[test]
fn every_row_of_the_table_is_as_it_says() {
    let rows = rows();
    assert!(rows.len() >= LEAST_ROWS, "{} rows", rows.len());
    let mut skipped = 0;
    let mut compared = 0;
    for row in &rows {
        let needs_root = row.command.starts_with("setcap") && !nix::unistd::geteuid().is_root();
        let missing = if needs_root { Some("root") } else { missing(&row.command) };
        if let Some(missing) = missing {
            skip(format_args!("{}: there is no {missing}", row.command));
            skipped += 1;
            continue;
        }
        compared += usize::from(check(row));
    }
    assert!(compared + skipped >= LEAST_COMPARED, "{compared} of {} rows compared, {skipped} skipped", rows.len());
}
