//! A running process, from /proc.

use std::fs;
use std::path::Path;

use hostler_core::health::ProcessProbe;

pub(super) async fn ask(probe: &ProcessProbe) -> Result<(), String> {
    let probe = probe.clone();
    let looked = tokio::task::spawn_blocking(move || match &probe {
        ProcessProbe::PidFile(file) => by_pid_file(file),
        ProcessProbe::Name(name) => by_name(name),
    });
    looked.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn by_pid_file(file: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("cannot read {file}: {e}"))?;
    let pid = text.trim().parse::<u32>().map_err(|_| format!("{file} holds no process id"))?;
    if runs(Path::new(&format!("/proc/{pid}"))) { Ok(()) } else { Err(format!("process {pid} does not run")) }
}

fn by_name(name: &str) -> Result<(), String> {
    let entries = fs::read_dir("/proc").map_err(|e| format!("cannot read /proc: {e}"))?;
    let processes = entries.flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    });
    let mut found = processes.filter(|process| program(process).as_deref() == Some(name) && runs(process));
    found.next().map(drop).ok_or_else(|| format!("no process executes {name}"))
}

/// The file name of its program, or its own first word if the link may not be read.
fn program(process: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    if let Ok(link) = fs::read_link(process.join("exe")) {
        // A program that was replaced since the process started.
        return name(&link).map(|n| n.trim_end_matches(" (deleted)").to_owned());
    }
    let words = fs::read(process.join("cmdline")).ok()?;
    let first = words.split(|b| *b == 0).next()?;
    name(Path::new(String::from_utf8_lossy(first).as_ref()))
}

/// Whether it has not ended and is no zombie (proc_pid_stat(5), field 3).
fn runs(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
