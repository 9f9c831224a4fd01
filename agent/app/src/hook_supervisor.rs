//! The supervisor of one script: `hostler-hook-supervisor RUN_DIR [detach]`.
//!
//! The agent starts it, and no one else has a use for it. `hostler hook-supervisor` does the same where this program is missing.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    hostler_host::memory::keep_little_free();
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().unwrap_or_default();
    hostler_host::hooks::supervise(Path::new(&directory), &arguments.next().unwrap_or_default())
}
