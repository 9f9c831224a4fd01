//! The names that an appspec may use. A test compares the JSON Schema for editors with them.

/// Keys at the top of an appspec.
pub const TOP: &[&str] = &["version", "os", "files", "file_exists_behavior", "permissions", "hooks", "hostler"];
/// Keys of an entry of `files`.
pub const FILE: &[&str] = &["source", "destination"];
/// Keys of a script.
pub const SCRIPT: &[&str] = &["location", "timeout", "runas", "sudo"];
/// Keys of an entry of `permissions`.
pub const PERMISSION: &[&str] = &["object", "pattern", "except", "type", "owner", "group", "mode", "acls", "context"];
/// Keys of an SELinux context; `user` is the documented key, `name` is the key that the CodeDeploy agent reads.
pub const CONTEXT: &[&str] = &["user", "name", "type", "range"];

/// Keys below `hostler`.
pub const EXTENSION: &[&str] = &["install", "environment", "secrets", "hooks", "health", "bake_time", "traffic"];
/// Keys below `hostler.install`.
pub const INSTALL: &[&str] = &["recheck_after"];
/// Keys of one script below `hostler.hooks`.
pub const HOOK_OPTIONS: &[&str] = &["repeatable", "leader_only", "limits", "environment", "secrets"];
/// Keys of `limits` of one script.
pub const HOOK_LIMITS: &[&str] = &["tasks_max", "memory_max"];
/// Keys of a health check. Exactly one of the first five names the probe.
pub const HEALTH: &[&str] = &[
    "http",
    "tcp",
    "command",
    "unit",
    "process",
    "name",
    "interval",
    "timeout",
    "successes",
    "failures",
    "grace",
    "deadline",
];
/// The keys of a health check that name the probe.
pub const HEALTH_PROBES: &[&str] = &["http", "tcp", "command", "unit", "process"];
/// Keys of an HTTP check.
pub const HEALTH_HTTP: &[&str] = &["url", "status", "body", "headers", "response_headers", "tls_name", "ca_file"];
/// Keys of a process check; it has exactly one of them.
pub const HEALTH_PROCESS: &[&str] = &["name", "pid_file"];
/// Keys of a command check.
pub const HEALTH_COMMAND: &[&str] = &["location", "runas"];
/// Keys below `hostler.traffic`.
pub const TRAFFIC: &[&str] = &["method", "target_groups", "drain_timeout", "healthy_timeout"];

/// Lifecycle events whose hooks run.
pub const EVENTS: &[&str] = &[
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];
/// Lifecycle events without hooks: the agent or the load balancer does their work.
pub const EVENTS_WITHOUT_HOOKS: &[&str] = &["DownloadBundle", "Install", "BlockTraffic", "AllowTraffic"];
