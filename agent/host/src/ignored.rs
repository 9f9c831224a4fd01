//! Signals that the parent set this process to ignore: `nohup` does, and so does a shell for its background jobs.

/// Whether a signal was ignored when the process was started, if no code listens to it yet.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (1..=64).contains(&signal) && mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_ignores_is_ignored_and_nothing_else() {
        assert!(is_ignored(nix::libc::SIGPIPE), "Rust's own start does");
        assert!(!is_ignored(nix::libc::SIGUSR2) && !is_ignored(0) && !is_ignored(65));
    }
}
