//! The environment of a hook.

use crate::ids::{DeploymentId, InstanceId};

/// The search path of a hook without a configured one: that of a root login on the supported distributions.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The source of the revision; it decides which `BUNDLE_` variables exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleOrigin {
    /// An object in S3.
    S3 {
        /// `BUNDLE_BUCKET`.
        bucket: String,
        /// `BUNDLE_KEY`.
        key: String,
        /// `BUNDLE_VERSION`, if the request named the object's version.
        version: Option<String>,
        /// `BUNDLE_ETAG`, if the request named the object's ETag.
        etag: Option<String>,
    },
    /// A commit on GitHub.
    GitHub {
        /// `BUNDLE_COMMIT`.
        commit: String,
    },
    /// A file or directory of this host, or any other source: no `BUNDLE_` variables.
    Other,
}

/// A hook's facts about its deployment.
#[derive(Debug, Clone)]
pub struct HookFacts<'a> {
    /// `LIFECYCLE_EVENT`.
    pub event: &'a str,
    /// `DEPLOYMENT_ID`.
    pub deployment: &'a DeploymentId,
    /// `APPLICATION_NAME`.
    pub application: &'a str,
    /// `DEPLOYMENT_GROUP_NAME`.
    pub group: &'a str,
    /// `DEPLOYMENT_GROUP_ID`.
    pub group_id: &'a str,
    /// The `BUNDLE_` variables.
    pub bundle: &'a BundleOrigin,
    /// `HOSTLER_INSTANCE_ID`.
    pub instance: &'a InstanceId,
    /// `HOSTLER_REVISION`: the revision's digest, or its location if no digest is known.
    pub revision: &'a str,
    /// `HOSTLER_DEADLINE`: the script's time limit in seconds.
    pub timeout_seconds: u64,
    /// `HOSTLER_ROOT`: the root prefix, if the deployment does not change the host itself.
    pub root: Option<&'a str>,
}

/// The environment of a hook, except HOME, USER, LOGNAME and SHELL, which come from the user database of the host.
///
/// The first group is CodeDeploy's (AppSpec reference, "Environment variable availability for hooks"); a value that
/// does not exist is left out rather than empty.
pub fn environment(facts: &HookFacts<'_>) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PATH", DEFAULT_PATH.to_owned()),
        ("LIFECYCLE_EVENT", facts.event.to_owned()),
        ("DEPLOYMENT_ID", facts.deployment.to_string()),
        ("APPLICATION_NAME", facts.application.to_owned()),
        ("DEPLOYMENT_GROUP_NAME", facts.group.to_owned()),
        ("DEPLOYMENT_GROUP_ID", facts.group_id.to_owned()),
    ];
    match facts.bundle {
        BundleOrigin::S3 { bucket, key, version, etag } => {
            variables.push(("BUNDLE_BUCKET", bucket.clone()));
            variables.push(("BUNDLE_KEY", key.clone()));
            variables.extend(version.clone().map(|version| ("BUNDLE_VERSION", version)));
            variables.extend(etag.clone().map(|etag| ("BUNDLE_ETAG", etag)));
        }
        BundleOrigin::GitHub { commit } => variables.push(("BUNDLE_COMMIT", commit.clone())),
        BundleOrigin::Other => {}
    }
    variables.push(("HOSTLER_INSTANCE_ID", facts.instance.to_string()));
    variables.push(("HOSTLER_REVISION", facts.revision.to_owned()));
    variables.push(("HOSTLER_DEADLINE", facts.timeout_seconds.to_string()));
    variables.extend(facts.root.map(|root| ("HOSTLER_ROOT", root.to_owned())));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Adds the appspec's variables for the script (`hostler: environment:`). They cannot override hostler's variables
/// about the deployment; they can override PATH.
pub fn with_own(mut variables: Vec<(String, String)>, own: &[(String, String)]) -> Vec<(String, String)> {
    for (name, value) in own {
        match variables.iter_mut().find(|(known, _)| known == name) {
            None => variables.push((name.clone(), value.clone())),
            Some((known, path)) if known == "PATH" => path.clone_from(value),
            Some(_) => {}
        }
    }
    variables
}

/// Adds the defaults for every program of the host, for variables that are not set yet.
pub fn with_defaults(mut variables: Vec<(String, String)>, defaults: Vec<(String, String)>) -> Vec<(String, String)> {
    for (name, value) in defaults {
        if variables.iter().all(|(known, _)| *known != name) {
            variables.push((name, value));
        }
    }
    variables
}

/// Whether a variable of the agent may reach a hook when `hooks.inherit_environment` is on.
///
/// Never: the agent's AWS credentials, variables that change how programs are loaded (`LD_`), and the service manager's
/// variables for the agent alone (a hook that inherits NOTIFY_SOCKET can report the agent as ready, or as stopping).
pub fn may_inherit(name: &str) -> bool {
    const AWS_THAT_IS_NO_SECRET: [&str; 6] = [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_DEFAULT_OUTPUT",
        "AWS_CA_BUNDLE",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_USE_DUALSTACK_ENDPOINT",
    ];
    const OF_THE_SERVICE_MANAGER: [&str; 18] = [
        "NOTIFY_SOCKET",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
        "MAINPID",
        "MANAGERPID",
        "CREDENTIALS_DIRECTORY",
        "STATE_DIRECTORY",
        "LOGS_DIRECTORY",
        "CACHE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "MEMORY_PRESSURE_WATCH",
    ];
    if name.starts_with("AWS_") {
        return AWS_THAT_IS_NO_SECRET.contains(&name);
    }
    !name.starts_with("LD_") && !OF_THE_SERVICE_MANAGER.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bundle: &BundleOrigin) -> Vec<String> {
        let facts = HookFacts {
            event: "AfterInstall",
            deployment: &"d-ABCDEFGHI".parse().unwrap(),
            application: "shop",
            group: "prod",
            group_id: "0f1e",
            bundle,
            instance: &"i-0123".parse().unwrap(),
            revision: "sha256:00",
            timeout_seconds: 30,
            root: None,
        };
        let below = environment(&HookFacts { root: Some("/srv/host"), ..facts.clone() });
        assert!(below.contains(&("HOSTLER_ROOT".into(), "/srv/host".into())), "{below:?}");
        let environment = environment(&facts);
        assert!(environment.iter().all(|(name, _)| name != "HOSTLER_ROOT"), "{environment:?}");
        assert!(environment.contains(&("DEPLOYMENT_GROUP_ID".into(), "0f1e".into())), "{environment:?}");
        assert!(environment.contains(&("HOSTLER_DEADLINE".into(), "30".into())), "{environment:?}");
        environment.into_iter().map(|(name, _)| name).filter(|name| name.starts_with("BUNDLE_")).collect()
    }

    #[test]
    fn bundle_variables_exist_only_for_what_is_known() {
        let s3 = |version: Option<&str>, etag: Option<&str>| BundleOrigin::S3 {
            bucket: "b".into(),
            key: "k".into(),
            version: version.map(Into::into),
            etag: etag.map(Into::into),
        };
        assert_eq!(names(&s3(Some("1"), Some("2"))), ["BUNDLE_BUCKET", "BUNDLE_KEY", "BUNDLE_VERSION", "BUNDLE_ETAG"]);
        assert_eq!(names(&s3(None, None)), ["BUNDLE_BUCKET", "BUNDLE_KEY"]);
        assert_eq!(names(&BundleOrigin::GitHub { commit: "c".into() }), ["BUNDLE_COMMIT"]);
        assert!(names(&BundleOrigin::Other).is_empty());
    }

    #[test]
    fn credentials_and_the_service_managers_words_are_not_inherited() {
        for secret in [
            "AWS_ACCESS_KEY_ID",
            "AWS_ACCESS_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SECRET_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "NOTIFY_SOCKET",
        ] {
            assert!(!may_inherit(secret), "{secret}");
        }
        for plain in ["AWS_REGION", "HTTP_PROXY", "PATH", "LANG", "LDAP_URL"] {
            assert!(may_inherit(plain), "{plain}");
        }
    }
}
