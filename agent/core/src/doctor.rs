//! What `hostler doctor` can find: a stable code, a severity and a remedy each.

use serde::{Deserialize, Serialize};

pub mod environment;

/// The current version of [`Report`].
pub const DOCTOR_VERSION: u32 = 1;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing to do.
    Info,
    /// It works, and something is missing or will hurt later.
    Warning,
    /// Something that the configuration asks for does not work.
    Error,
}

impl Severity {
    /// The word for users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

macro_rules! codes {
    ($($name:ident $text:literal $doc:literal,)*) => {
        /// A check of `hostler doctor`. The names never change; docs/usage/troubleshooting.md lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $doc] #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that never changes.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    Configuration "configuration" "The configuration is read whole and understood.",
    ConfigurationAccess "configuration-access" "Not every user of the host reads a file that holds secrets.",
    StateDirectory "state-directory" "The state directory is there, ours, and can be written.",
    StateLock "state-lock" "The state is free, or a daemon that answers has it.",
    Ledger "ledger" "The ledger can be read.",
    LedgerRoom "ledger-room" "How full the ledger is.",
    Installs "installs" "No Install waits until it can be undone.",
    DiskSpace "disk-space" "Space on the file system with the state.",
    Inodes "inodes" "Inodes on the file system with the state.",
    Daemon "daemon" "A daemon runs and nothing is wrong with it.",
    Identity "identity" "It is known which host this is.",
    ImdsAnswers "imds-answers" "The instance metadata service answers by version 2.",
    ImdsUnreachable "imds-unreachable" "It cannot be reached.",
    ImdsVersionOne "imds-version-1" "It gives out no tokens: version 1 only.",
    ImdsHopLimit "imds-hop-limit" "It takes connections and never answers the request for a token.",
    ImdsSlow "imds-slow" "It does not answer in time.",
    ImdsRefused "imds-refused" "It is switched off, or a proxy is in between.",
    ImdsWrong "imds-wrong" "It answers with something else.",
    Credentials "credentials" "There are credentials, by which provider and until when.",
    ClockSkew "clock-skew" "This host's clock against the store's.",
    StoreReachable "store-reachable" "The channel's store can be reached.",
    StoreRegion "store-region" "The bucket's Region.",
    StoreRead "store-read" "The release and its bundle can be read (s3:GetObject).",
    StoreList "store-list" "What is absent is told from what is denied (s3:ListBucket).",
    StoreConditions "store-conditions" "The store keeps the conditions of writes (only with --write).",
    WakeUpQueue "wake-up-queue" "The queue can be read (sqs:ReceiveMessage, sqs:DeleteMessage).",
    SignaturePolicy "signature-policy" "Keys are configured, and the release is signed with them.",
    AutoScaling "auto-scaling" "Where the group has this instance, and whether its configured hooks exist and may be completed.",
    ServiceGroup "service-group" "The group hostler exists.",
    HookSupervision "hook-supervision" "How hooks are run, and whether all their processes can be ended at once.",
    Unit "unit" "The service is installed, enabled and running.",
    UnitHardening "unit-hardening" "No drop-in takes from the service what an Install needs.",
    Traffic "traffic" "The configured way out of service can be gone in this host's Auto Scaling group and target groups.",
    OutOfService "out-of-service" "No deployment has left this host out of service.",
    UnsafePathsWarn "unsafe-paths-warn" "Ways that a user other than root could lead elsewhere are taken (`unsafe_paths: warn`).",
    CodedeployDirectories "codedeploy-directories" "In the CodeDeploy agent's place no other user may change the agent's directories.",
    CodedeployAgent "codedeploy-agent" "No CodeDeploy agent works on the same host.",
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The finding.
    pub message: String,
    /// What to do; `None` when nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Ok, message: message.into(), remedy: None }
    }

    /// Worth knowing.
    pub fn info(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, ..Self::ok(code, message) }
    }

    /// Something is missing or will hurt later.
    pub fn warning(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, remedy: Some(remedy.into()), ..Self::ok(code, message) }
    }

    /// Something does not work.
    pub fn error(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, remedy: Some(remedy.into()), ..Self::ok(code, message) }
    }
}

/// What `hostler doctor --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this document.
    pub version: u32,
    /// The results of all checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is an error.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }
}

/// The free part of a limited resource. `unit` names its unit; below `little` the finding is an error.
pub fn room(code: Code, what: &str, free: u64, all: u64, little: u64, shown: impl Fn(u64) -> String) -> Finding {
    let message = format!("{what}: {} of {} free", shown(free), shown(all));
    let remedy = "make room: old revisions go by max_revisions and max_revision_bytes; look at the rest with du";
    if free < little {
        Finding::error(code, message, remedy)
    } else if free < all / 20 {
        Finding::warning(code, message, remedy)
    } else {
        Finding::ok(code, message)
    }
}

/// How full the ledger is: `used` of `room` bytes. It never overflows. It fills with texts, which make way for newer
/// ones, and with groups, which do not.
pub fn ledger_room(used: usize, room: usize) -> Finding {
    let percent = used.saturating_mul(100) / room.max(1);
    let message = format!("the state takes {} of {} KiB ({percent} %)", used >> 10, room >> 10);
    if percent <= 75 {
        return Finding::ok(Code::LedgerRoom, message);
    }
    let remedy = "output and warnings of old deployments make way by themselves; when there is no room for new deployments, take \
                  groups off this host that are not needed any more (hostler remove), or lower max_revisions";
    Finding::warning(Code::LedgerRoom, message, remedy)
}

/// Seconds that a clock may differ before signatures are refused ("RequestTimeTooSkewed" in S3's error codes).
const REFUSED_SECONDS: u64 = 900;
/// Seconds of difference above which an administrator should check the clock.
const NOTABLE_SECONDS: u64 = 30;

/// This host's clock against the store's, both in seconds since 1970.
pub fn clock_skew(here: i64, store: i64) -> Finding {
    let apart = here.abs_diff(store);
    let word = if here > store { "ahead of" } else { "behind" };
    let message = format!("this host's clock is {apart} s {word} the store's");
    let remedy = "set the clock: chronyc tracking, or timedatectl; on EC2 the time is at 169.254.169.123";
    if apart >= REFUSED_SECONDS {
        Finding::error(Code::ClockSkew, message, remedy)
    } else if apart >= NOTABLE_SECONDS {
        Finding::warning(Code::ClockSkew, message, remedy)
    } else {
        Finding::ok(Code::ClockSkew, message)
    }
}

/// Properties of the service that would deny an Install what it needs, each with its harmless values.
const HARDENING: &[(&str, &[&str], &str)] = &[
    ("ProtectSystem", &["no"], "files below /usr, /boot and /etc could not be installed"),
    ("ProtectHome", &["no"], "files below /home and /root could not be installed"),
    ("PrivateTmp", &["no"], "files below /tmp would go to a directory that only the agent sees"),
    ("RestrictSUIDSGID", &["no"], "setuid and setgid modes could not be set"),
    ("PrivateUsers", &["no"], "files could not be given to other users"),
    ("User", &["", "root", "0"], "files could not be given to other users, and hooks not run as them"),
    ("KillMode", &["process"], "a stop of the service would end hooks that go on"),
];

/// Faults of the service's properties, as `systemctl show` prints them.
pub fn hardening(property: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let wrong = HARDENING.iter().filter_map(|(name, harmless, harm)| {
        let value = property(name)?;
        (!harmless.contains(&value.as_str())).then(|| format!("{name}={value}: {harm}"))
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_judged_by_what_the_store_refuses() {
        let severity = |here, store| clock_skew(here, store).severity;
        assert_eq!(severity(1000, 1029), Severity::Ok);
        assert_eq!(severity(1030, 1000), Severity::Warning);
        assert_eq!(severity(1000, 1899), Severity::Warning);
        assert_eq!(severity(1900, 1000), Severity::Error);
        assert!(clock_skew(0, 100).message.contains("100 s behind"), "{:?}", clock_skew(0, 100));
    }

    #[test]
    fn room_is_judged_by_what_is_left() {
        let severity = |free| room(Code::Inodes, "x", free, 1000, 10, |n| n.to_string()).severity;
        assert_eq!([severity(9), severity(10), severity(49), severity(50)].map(|s| s as u8), [3, 2, 2, 0]);
    }

    #[test]
    fn a_full_ledger_is_a_warning_before_it_refuses_anything() {
        let of = |used| ledger_room(used, 1 << 20);
        assert_eq!(of(20 << 10).message, "the state takes 20 of 1024 KiB (1 %)");
        assert_eq!([of(768 << 10).severity, of(780 << 10).severity], [Severity::Ok, Severity::Warning]);
        assert!(of(1 << 20).remedy.is_some_and(|remedy| remedy.contains("hostler remove")));
    }

    #[test]
    fn properties_that_break_an_install_are_named_with_what_they_break() {
        let shipped = |name: &str| match name {
            "KillMode" => Some("process".to_owned()),
            "User" => Some(String::new()),
            _ => Some("no".to_owned()),
        };
        assert_eq!(hardening(shipped), [""; 0]);
        assert_eq!(hardening(|_| None), [""; 0], "an old systemd does not know all of them");
        let hardened = |name: &str| if name == "ProtectSystem" { Some("strict".to_owned()) } else { shipped(name) };
        assert_eq!(
            hardening(hardened),
            ["ProtectSystem=strict: files below /usr, /boot and /etc could not be installed"]
        );
    }
}
