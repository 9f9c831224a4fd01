//! Every bound, each with the accident or attack that it prevents.

/// All bounds of the agent in one place. Bytes, counts and seconds as the field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a bundle as stored. Prevents: a wrong key that names a database dump fills the disk.
    pub bundle_bytes: u64,
    /// Bytes of all files of an unpacked bundle. Prevents: archive bombs.
    pub unpacked_bytes: u64,
    /// Unpacked bytes for each stored byte, once `expansion_floor_bytes` are passed. Prevents: archive bombs
    /// that stay below `unpacked_bytes`.
    pub expansion_ratio: u64,
    /// Unpacked bytes below which the expansion ratio is not checked. Prevents: refusing a small, repetitive bundle.
    pub expansion_floor_bytes: u64,
    /// Entries of a bundle. Prevents: running out of inodes and of memory for the listing.
    pub entries: u64,
    /// Bytes of one path inside a bundle. Prevents: paths that the kernel or the next tool refuses half-way.
    pub path_bytes: usize,
    /// Bytes of all paths and link targets inside a bundle. Prevents: memory for a listing that `entries` and
    /// `path_bytes` together would allow.
    pub all_path_bytes: u64,
    /// Directory levels of one path inside a bundle. Prevents: trees that no tool can delete again.
    pub path_depth: usize,
    /// Bytes of an appspec file. Prevents: parsing a video as YAML.
    pub appspec_bytes: usize,
    /// Nodes of a YAML document after aliases are expanded. Prevents: "billion laughs".
    pub yaml_nodes: usize,
    /// Bytes of text of a YAML document after aliases are expanded. Prevents: one long text that aliases repeat.
    pub yaml_bytes: usize,
    /// Nesting of a YAML document. Prevents: exhausting the stack.
    pub yaml_depth: usize,
    /// Diagnostics of one document; further ones are counted. Prevents: a report that is too long to read, and memory
    /// for one mistake that a list repeats.
    pub diagnostics: usize,
    /// Reasons why a plan is impossible; further ones are counted. Prevents: memory for the same reason for each file.
    pub plan_problems: usize,
    /// Bytes of those reasons. Prevents: the same, with long paths.
    pub plan_problem_bytes: usize,
    /// Paths that the entries of `files` name, counted as often as they are named. Prevents: memory for the product of
    /// two lists that are each within bounds.
    pub plan_paths: usize,
    /// Names that are compared with the patterns of `permissions`. Prevents: minutes for the product of two lists that
    /// are each within bounds.
    pub plan_comparisons: usize,
    /// Bytes of a release document. Prevents: reading an arbitrary object into memory; also the limit of KMS for raw
    /// signing.
    pub release_bytes: usize,
    /// Signatures of one release document. Prevents: a host that checks thousands of them at every poll of its channel.
    pub release_signatures: usize,
    /// Bytes of a configuration file. Prevents: the same mistakes as `appspec_bytes`.
    pub config_bytes: usize,
    /// Bytes of one line of hook output that are kept. Prevents: a progress bar without newlines fills memory.
    pub log_line_bytes: usize,
    /// Bytes of one deployment's `scripts.log`. Prevents: a hook in a loop fills the disk.
    pub hook_log_bytes: u64,
    /// Bytes of a hook's output that are logged in a second, on average. Prevents: a hook in a loop takes the disk
    /// and the log shipping away from everything else.
    pub hook_log_bytes_per_second: u64,
    /// Lines of output that are kept with a failure. Prevents: a report that is too large for its reader.
    pub tail_lines: usize,
    /// Bytes of the ledger's state. Prevents: outgrowing the preallocated slots.
    pub ledger_bytes: usize,
    /// Bytes of one request or answer line on the control socket. Prevents: a local user exhausting memory.
    pub socket_line_bytes: usize,
    /// Seconds until a peer on the control socket has sent its question. Prevents: unused connections taking all
    /// descriptors.
    pub socket_question_seconds: u64,
    /// Simultaneous conversations on the control socket with users that may only read; each has
    /// `socket_question_seconds`. Prevents: the same, by a local user on purpose.
    pub socket_onlookers: usize,
    /// Those of one user. Prevents: one user taking all of them.
    pub socket_onlookers_of_user: usize,
    /// Seconds that a stopping daemon gives its current step. Prevents: a shutdown that waits for a download; less than
    /// the unit's TimeoutStopSec, so that the daemon can still report its end.
    pub drain_seconds: u64,
    /// Connections of one download. Prevents: taking the whole network from the running application.
    pub download_connections: usize,
    /// Bytes that one request of a download asks for. Prevents: losing more than that when a connection breaks.
    pub download_part_bytes: u64,
    /// Bytes of a download that each connection holds before they are written. Prevents: memory that grows with the
    /// bundle.
    pub download_write_bytes: usize,
    /// Seconds of waiting within which a connection must deliver `download_floor_bytes`. Prevents: hanging on a peer
    /// that sends a byte now and then.
    pub download_stall_seconds: u64,
    /// Bytes that a connection must deliver in `download_stall_seconds`. Prevents: the same.
    pub download_floor_bytes: u64,
    /// Broken connections in a row that delivered nothing. Prevents: trying for ever.
    pub download_fruitless_tries: u32,
    /// Bytes at the end of a zip that are fetched first, because its table of contents is there. Prevents: an extra
    /// request for each bundle.
    pub delta_tail_bytes: u64,
    /// Bytes between two fetched ranges from which on the agent copies from the kept bundle instead of fetching.
    /// Prevents: more requests than bytes.
    pub delta_copy_bytes: u64,
    /// Bytes of one part of an upload, and of the largest object that is uploaded in one request. Prevents: memory that
    /// grows with the bundle. S3 requires at least 5 MiB.
    pub upload_part_bytes: u64,
    /// Parts of one upload that are sent at the same time, each in memory. Prevents: the same.
    pub upload_connections: usize,
    /// Seconds between SIGTERM and SIGKILL at a hook's deadline. Prevents: cutting off a script that cleans up.
    pub kill_grace_seconds: u64,
    /// Seconds for a hook's supervisor to start. Prevents: waiting for ever for a supervisor that was never started.
    pub supervisor_start_seconds: u64,
    /// Seconds beyond a hook's deadline and grace after which the agent ends it without its supervisor. Prevents:
    /// waiting for ever for a supervisor that is stopped or waits for a device.
    pub supervisor_overdue_seconds: u64,
    /// Requests to CloudWatch Logs at a time, each with a batch in memory. Prevents: memory that grows with the
    /// streams.
    pub log_requests: usize,
    /// Log files that are open at the same time, except those that could not be found again by name; half of the
    /// process's limit if that is less. Prevents: running out of descriptors.
    pub log_open_files: usize,
    /// Log files that one pattern may find. Prevents: `/**` that takes the memory.
    pub log_files_of_pattern: usize,
    /// Entries of a directory that are examined to find a rotated log. Prevents: a directory of a million files that
    /// takes minutes.
    pub log_directory_entries: usize,
    /// Records of a journal that wait to be sent. Prevents: the whole journal in memory.
    pub log_journal_records: usize,
    /// Bytes of them. Prevents: the same, with long records.
    pub log_journal_bytes: usize,
    /// Free bytes of a disk (or a twentieth of it, if that is less) below which undelivered deleted logs are given up.
    /// Prevents: an outage of CloudWatch Logs that fills the application's disk.
    pub log_free_bytes: u64,
    /// Files and journals in a report of the shipping. Prevents: an answer that does not fit through the socket.
    pub log_reported_sources: usize,
    /// Bytes of the file with the agent's own records at which it is renamed; there is one older file. Prevents: an
    /// agent that complains all the time and fills the disk.
    pub agent_log_bytes: u64,
    /// Bytes to read of a file whose lines are redacted. Prevents: a wrong path that takes the memory.
    pub secret_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bundle_bytes: 20 << 30,
            unpacked_bytes: 50 << 30,
            expansion_ratio: 200,
            expansion_floor_bytes: 256 << 20,
            entries: 500_000,
            path_bytes: 4000,
            all_path_bytes: 40 << 20,
            path_depth: 128,
            appspec_bytes: 1 << 20,
            yaml_nodes: 250_000,
            yaml_bytes: 4 << 20,
            yaml_depth: 128,
            diagnostics: 200,
            plan_problems: 10_000,
            plan_problem_bytes: 8 << 20,
            plan_paths: 2_000_000,
            plan_comparisons: 10_000_000,
            release_bytes: 4096,
            release_signatures: 32,
            config_bytes: 1 << 20,
            log_line_bytes: 16 << 10,
            hook_log_bytes: 64 << 20,
            hook_log_bytes_per_second: 8 << 20,
            tail_lines: 20,
            ledger_bytes: 1 << 20,
            socket_line_bytes: 1 << 20,
            socket_question_seconds: 5,
            socket_onlookers: 32,
            socket_onlookers_of_user: 4,
            drain_seconds: 25,
            download_connections: 6,
            download_part_bytes: 8 << 20,
            download_write_bytes: 1 << 20,
            download_stall_seconds: 30,
            download_floor_bytes: 64 << 10,
            download_fruitless_tries: 4,
            delta_tail_bytes: 128 << 10,
            delta_copy_bytes: 64 << 10,
            upload_part_bytes: 16 << 20,
            upload_connections: 2,
            kill_grace_seconds: 5,
            supervisor_start_seconds: 30,
            supervisor_overdue_seconds: 60,
            log_requests: 4,
            log_open_files: 512,
            log_files_of_pattern: 20_000,
            log_directory_entries: 10_000,
            log_journal_records: 10_000,
            log_journal_bytes: 1 << 20,
            log_free_bytes: 1 << 30,
            log_reported_sources: 2000,
            agent_log_bytes: 8 << 20,
            secret_file_bytes: 64 << 10,
        }
    }
}
