//! The keys at the top, and the sections about the host as a whole.

use super::{Key, Kind};
use crate::values::YEAR_SECONDS;

const DURATION: Kind = Kind::Duration(1, YEAR_SECONDS);

pub(super) const TOP: &[Key] = &[
    Key::new("instance_id", Kind::Text, "The name of this host.", "web-1")
        .otherwise("the EC2 instance id, else the host's name"),
    Key::new("poll", DURATION, "The time between two polls of a channel, for every group that names none.", "5m")
        .usually("60s"),
    Key::new(
        "groups",
        Kind::Sections,
        "The deployment groups that this host follows.",
        "[{application: shop, group: production}]",
    ),
    Key::new("hooks", Kind::Section, "How scripts are run.", "{inherit_environment: true}"),
    Key::new(
        "signatures",
        Kind::Section,
        "Which keys must sign a release; without this section nothing is verified.",
        "{channel: {keys: [MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]}}",
    ),
    Key::new(
        "signals",
        Kind::Section,
        "Where in CloudFormation the agent signals once this host is proven.",
        "{failure: true}",
    ),
    Key::new("machine_events", Kind::Section, "How the scripts in `/etc/hostler/hooks.d` are run.", "{timeout: 10m}"),
    Key::new(
        "auto_scaling",
        Kind::Section,
        "How the agent follows its Auto Scaling group; without this section it does not.",
        "{rebalance: hold}",
    ),
    Key::new("codedeploy", Kind::Section, "How the agent follows the CodeDeploy service.", "{enabled: true}"),
    Key::new(
        "aws",
        Kind::Section,
        "How the agent reaches AWS; a missing key comes from the `AWS_*` variables, the shared config file and the instance metadata.",
        "{region: eu-west-1}",
    ),
    Key::new("downloads", Kind::Section, "How the agent fetches bundles.", "{max_bytes_per_second: 50M}"),
    Key::new(
        "logs",
        Kind::OpenSection,
        "What the agent ships to CloudWatch Logs; without this section it ships nothing.",
        "{compress: false}",
    ),
    Key::new(
        "unsafe_paths",
        Kind::Word(&["refuse", "warn"]),
        "What the agent does about a path that a user other than root could redirect.",
        "warn",
    )
    .usually("refuse"),
    Key::new(
        "log_level",
        Kind::Word(&["error", "warn", "info", "debug"]),
        "Which of its own records the daemon writes: those of this level and the graver ones, and at every level those with a `MESSAGE_ID`, on which operators alert. `HOSTLER_LOG`, `--quiet` and `--verbose` win over it.",
        "warn",
    )
    .usually("info"),
    Key::new(
        "health_listener",
        Kind::Form("address and port"),
        "The address on which the agent answers a load balancer's health check.",
        "0.0.0.0:8645",
    ),
];

pub(super) const HOOKS: &[Key] = &[
    Key::new(
        "hooks.inherit_environment",
        Kind::Boolean,
        "Scripts get the agent's whole environment, as with the CodeDeploy agent.",
        "true",
    )
    .usually("false"),
    Key::new("hooks.working_directory", Kind::Path, "The directory in which scripts begin.", "/opt/codedeploy-agent")
        .otherwise("the unpacked bundle"),
    Key::new(
        "hooks.bundle_access",
        Kind::Word(&["scripts", "everyone"]),
        "The users who reach an unpacked bundle: those that its scripts run as, or every user of the host.",
        "everyone",
    )
    .otherwise("`scripts`; `everyone` for deployments of the CodeDeploy service"),
];

/// Public keys, for examples.
const KEYS: &str = "[MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]";
const WITH_KEYS: &str = "keys: [MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]";
const TWO_KEYS: &str = "keys: [MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=, MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=]";

macro_rules! policy {
    ($source:literal, $what:literal) => {
        [
            Key::new(
                $source,
                Kind::Section,
                concat!("The keys that must sign ", $what, "."),
                "{keys: [MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]}",
            ),
            Key::new(
                concat!($source, ".keys"),
                Kind::Texts,
                "Public keys, each on one line or as PEM; `hostler keygen` makes a pair.",
                KEYS,
            ),
            Key::new(
                concat!($source, ".threshold"),
                Kind::Whole(0, u32::MAX as u64),
                "How many of the keys must have signed.",
                "2",
            )
            .usually("1")
            .beside(TWO_KEYS),
            Key::new(
                concat!($source, ".version"),
                Kind::Whole(0, u64::MAX),
                "The version of this set of keys: raise it with each change.",
                "2",
            )
            .usually("1")
            .beside(WITH_KEYS),
        ]
    };
}

const CHANNEL: [Key; 4] = policy!("signatures.channel", "releases in a channel");
const CLI: [Key; 4] = policy!("signatures.cli", "what `hostler deploy` deploys");
pub(super) const SIGNATURES: &[Key] = &[CHANNEL[0], CHANNEL[1], CHANNEL[2], CHANNEL[3], CLI[0], CLI[1], CLI[2], CLI[3]];

const STACK: &str = "stack: web\nresource: Fleet";

pub(super) const SIGNALS: &[Key] = &[
    Key::new(
        "signals.cloudformation",
        Kind::Either(&Kind::Word(&["from_tags"]), &Kind::Section),
        "The resource that the agent signals: the one of the instance's tags, or a named one.",
        "from_tags",
    ),
    Key::new("signals.cloudformation.stack", Kind::Text, "The stack's name or id.", "web").beside("resource: Fleet"),
    Key::new("signals.cloudformation.resource", Kind::Text, "The resource's logical id.", "Fleet").beside("stack: web"),
    Key::new("signals.cloudformation.region", Kind::Text, "The stack's region.", "eu-west-1")
        .otherwise("the host's region")
        .beside(STACK),
    Key::new(
        "signals.wait_condition",
        Kind::Form("presigned address"),
        "The presigned address of a wait condition's handle.",
        "'https://cloudformation-waitcondition.s3.amazonaws.com/handle?Signature=example'",
    )
    .secret(),
    Key::new(
        "signals.failure",
        Kind::Boolean,
        "The agent signals FAILURE when a deployment fails, and does not wait for a later success.",
        "true",
    )
    .usually("false"),
];

pub(super) const MACHINE_EVENTS: &[Key] =
    &[Key::new("machine_events.timeout", DURATION, "The time limit of one script.", "10m").usually("30m")];

pub(super) const AUTO_SCALING: &[Key] = &[
    Key::new(
        "auto_scaling.launch_hooks",
        Kind::Texts,
        "The launch lifecycle hooks that the agent completes.",
        "[hostler-launch]",
    ),
    Key::new(
        "auto_scaling.terminate_hooks",
        Kind::Texts,
        "The termination lifecycle hooks that the agent completes.",
        "[hostler-terminate]",
    ),
    Key::new(
        "auto_scaling.launch_timeout",
        DURATION,
        "The time after which the agent gives up a launch that is not ready.",
        "20m",
    )
    .usually("30m"),
    Key::new(
        "auto_scaling.without_release",
        Kind::Word(&["continue", "wait", "abandon"]),
        "What the agent does with a launch when the channel has no release.",
        "wait",
    )
    .usually("continue"),
    Key::new(
        "auto_scaling.abandon_failed_shutdown",
        Kind::Boolean,
        "The agent completes a termination hook with ABANDON when a script of the shutdown failed.",
        "true",
    )
    .usually("false"),
    Key::new(
        "auto_scaling.rebalance",
        Kind::Word(&["note", "hold", "drain"]),
        "What the agent does when EC2 recommends to replace the instance.",
        "hold",
    )
    .usually("note"),
    Key::new(
        "auto_scaling.set_instance_health_after",
        DURATION,
        "The time for which a group must be unhealthy before the agent reports this host to its Auto Scaling group.",
        "15m",
    )
    .otherwise("never"),
    Key::new("auto_scaling.poll", DURATION, "The time between two requests to the instance metadata service.", "10s")
        .usually("5s"),
];

pub(super) const CODEDEPLOY: &[Key] = &[
    Key::new("codedeploy.enabled", Kind::Boolean, "The agent takes deployments from the CodeDeploy service.", "true")
        .usually("false"),
    Key::new(
        "codedeploy.agent_config",
        Kind::Path,
        "The CodeDeploy agent's own configuration, which is read too.",
        "/etc/codedeployagent.yml",
    )
    .usually("/etc/codedeploy-agent/conf/codedeployagent.yml"),
    Key::new(
        "codedeploy.running_agent",
        Kind::Word(&["wait", "refuse"]),
        "While the CodeDeploy agent runs on this host: wait until it ends, or end with an error.",
        "refuse",
    )
    .usually("wait"),
    Key::new(
        "codedeploy.changed_signer",
        Kind::Word(&["report", "refuse"]),
        "When another certificate signs the specifications: warn and trust it, or refuse them.",
        "refuse",
    )
    .usually("report"),
    Key::new(
        "codedeploy.signer_authorities",
        Kind::Path,
        "PEM file of the authorities that must have issued the signer's certificate.",
        "/etc/pki/signers.pem",
    )
    .otherwise("no check"),
    Key::new(
        "codedeploy.github_api",
        Kind::Form("address with https://"),
        "The address of GitHub's API, for GitHub Enterprise.",
        "https://github.example.com/api/v3",
    )
    .usually("https://api.github.com"),
];
