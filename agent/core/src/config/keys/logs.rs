//! The keys about logs. Names are those of the awslogs agent and the CloudWatch agent where they have them.

use super::{Key, Kind, Usual};
use crate::logs::service::RETENTION_DAYS;
use crate::values::YEAR_SECONDS;

const CLASSES: Kind = Kind::Word(&["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"]);
const ONE_CLASS: Kind = Kind::Word(&["STANDARD"]);
const DAYS: Kind = Kind::Numbers(RETENTION_DAYS);
const ON_OR_TARGET: Kind = Kind::Either(&Kind::Boolean, &Kind::Section);
const POSITIONS: Kind = Kind::Word(&["start_of_file", "end_of_file"]);
/// The names of the journal's priorities.
pub(in crate::config) const PRIORITIES: &[&str] =
    &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// As in the awslogs agent.
const BUFFER: Kind = Kind::Milliseconds(100, 60_000);
const OF_SECTION: &str = "the section's own";

pub(super) const LOGS: &[Key] = &[
    Key::new("logs.deployments", ON_OR_TARGET, "The output of scripts: on, off, or on with other names.", "false")
        .usually("true"),
    Key::new("logs.agent", ON_OR_TARGET, "The agent's own records: on, off, or on with other names.", "false")
        .usually("true"),
    Key::new(
        "logs.metrics",
        ON_OR_TARGET,
        "Metrics in CloudWatch's embedded metric format: off, on, or on with other names.",
        "true",
    )
    .usually("false"),
    Key::new(
        "logs.files",
        Kind::Sections,
        "Log files of applications; those of later files of the configuration are added.",
        "[{file: /var/log/app/*.log, log_group_name: /app}]",
    ),
    Key::new(
        "logs.journal",
        Kind::Sections,
        "Parts of the systemd journal; those of later files of the configuration are added.",
        "[{units: [nginx.service], log_group_name: /nginx}]",
    ),
    Key::new(
        "logs.redact",
        Kind::Texts,
        "Regular expressions; what matches is redacted everywhere, or only its group with the name `secret`.",
        "['password=(?<secret>\\S+)']",
    ),
    Key::new(
        "logs.redact_values_from",
        Kind::Paths,
        "Files with a secret in each line, which is redacted everywhere.",
        "[/etc/app/db-password]",
    ),
    Key::new(
        "logs.awslogs_config",
        Kind::Paths,
        "Configuration files of the awslogs agent whose sections are followed too.",
        "[/etc/awslogs/awslogs.conf]",
    ),
    Key::new("logs.compress", Kind::Boolean, "Requests are compressed.", "false").usually("true"),
    Key::new(
        "logs.flush",
        Kind::Duration(1, YEAR_SECONDS),
        "The time for which a stopping agent waits until the logs are shipped.",
        "30s",
    )
    .usually("15s"),
    Key::new(
        "logs.deleted_bytes",
        Kind::Size(0, u64::MAX),
        "The bytes of deleted files that stay on the disk until they are shipped.",
        "2G",
    )
    .usually("256M"),
    Key::new("logs.retention_in_days", DAYS, "The days for which a new log group keeps events.", "30")
        .otherwise("for ever"),
    Key::new("logs.log_group_class", CLASSES, "The class of a new log group.", "INFREQUENT_ACCESS")
        .otherwise("`STANDARD`"),
    Key::new("logs.tags", Kind::Names, "The tags of a new log group.", "{team: web}"),
];

/// The keys of everything that has a log group and a stream: the place, its placeholders, the usual stream, the classes
/// and the usual group.
macro_rules! target {
    ($place:literal, $placeholders:literal, $stream:literal, $class:expr, $group:expr) => {
        &[
            Key {
                default: $group,
                ..Key::new(
                    concat!($place, ".log_group_name"),
                    Kind::Form("name, with placeholders"),
                    concat!("The log group; the placeholders of both names are ", $placeholders, "."),
                    "/production/{instance_id}",
                )
            },
            Key::new(
                concat!($place, ".log_stream_name"),
                Kind::Form("name, with placeholders"),
                "The log stream.",
                "'web-{instance_id}'",
            )
            .usually($stream),
            Key::new(
                concat!($place, ".retention_in_days"),
                DAYS,
                "The days for which a new log group keeps events.",
                "7",
            )
            .otherwise(OF_SECTION),
            Key::new(concat!($place, ".log_group_class"), $class, "The class of a new log group.", "STANDARD")
                .otherwise(OF_SECTION),
            Key::new(concat!($place, ".tags"), Kind::Names, "The tags of a new log group.", "{team: web}")
                .otherwise(OF_SECTION),
        ]
    };
}

pub(super) const DEPLOYMENTS: &[Key] = target!(
    "logs.deployments",
    "`{instance_id}`, `{hostname}`, `{ip_address}`, `{application}`, `{deployment_group}` and `{deployment_id}`",
    "'{instance_id}/{deployment_id}'",
    CLASSES,
    Usual::Value("'/hostler/{application}/{deployment_group}'")
);
pub(super) const AGENT: &[Key] = target!(
    "logs.agent",
    "`{instance_id}`, `{hostname}` and `{ip_address}`",
    "'{instance_id}'",
    CLASSES,
    Usual::Value("/hostler/agent")
);
pub(super) const METRICS: &[Key] = target!(
    "logs.metrics",
    "`{instance_id}`, `{hostname}` and `{ip_address}`",
    "'{instance_id}'",
    ONE_CLASS,
    Usual::Value("/hostler/metrics")
);
pub(super) const FILE_TARGETS: &[Key] = target!(
    "logs.files[]",
    "`{instance_id}`, `{hostname}`, `{ip_address}`, `{file_name}` and `{file_path}`",
    "'{instance_id}'",
    CLASSES,
    Usual::Words("every entry has it")
);
pub(super) const JOURNAL_TARGETS: &[Key] = target!(
    "logs.journal[]",
    "`{instance_id}`, `{hostname}` and `{ip_address}`",
    "'{instance_id}'",
    CLASSES,
    Usual::Words("every entry has it")
);

pub(super) const FILES: &[Key] = &[
    Key::new(
        "logs.files[].file",
        Kind::Form("absolute path or pattern"),
        "The file, or a pattern of files; every entry has it.",
        "/var/log/shop/*.log",
    ),
    Key::new("logs.files[].exclude", Kind::Texts, "Patterns of paths or file names that are left out.", "[debug.log]"),
    Key::new(
        "logs.files[].datetime_format",
        Kind::Form("strftime format"),
        "The format of the time in an event.",
        "'%Y-%m-%d %H:%M:%S'",
    )
    .otherwise("the time of reading"),
    Key::new("logs.files[].time_zone", Kind::Word(&["LOCAL", "UTC"]), "The zone of times without an offset.", "UTC")
        .usually("LOCAL"),
    Key::new(
        "logs.files[].multi_line_start_pattern",
        Kind::Form("regular expression or `{datetime_format}`"),
        "What begins an event of several lines.",
        "'^\\d{4}-'",
    )
    .otherwise("each line is an event"),
    Key::new("logs.files[].encoding", Kind::Form("IANA or Python name"), "The encoding of the file.", "latin-1")
        .otherwise("UTF-8"),
    Key::new(
        "logs.files[].initial_position",
        POSITIONS,
        "Where reading begins in files that are there when the agent first sees them.",
        "end_of_file",
    )
    .usually("start_of_file"),
    Key::new(
        "logs.files[].buffer_duration",
        BUFFER,
        "The time for which lines are gathered before they are shipped.",
        "5s",
    )
    .usually("1000"),
];

pub(super) const JOURNAL: &[Key] = &[
    Key::new("logs.journal[].units", Kind::Texts, "The units whose records are shipped.", "[nginx.service]")
        .otherwise("all"),
    Key::new(
        "logs.journal[].priority",
        Kind::Either(&Kind::Word(PRIORITIES), &Kind::Whole(0, 7)),
        "The least important priority that is shipped.",
        "warning",
    )
    .otherwise("all"),
    Key::new(
        "logs.journal[].matches",
        Kind::Texts,
        "Fields of the journal that a record must have, as FIELD=value.",
        "[SYSLOG_IDENTIFIER=sudo]",
    )
    .otherwise("all"),
    Key::new(
        "logs.journal[].initial_position",
        POSITIONS,
        "Where reading begins when the agent first sees the journal.",
        "end_of_file",
    )
    .usually("start_of_file"),
    Key::new(
        "logs.journal[].buffer_duration",
        BUFFER,
        "The time for which records are gathered before they are shipped.",
        "5s",
    )
    .usually("1000"),
];
