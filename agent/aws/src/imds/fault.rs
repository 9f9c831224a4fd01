//! Faults of the instance metadata service, told apart by their remedies.

use std::time::Duration;

/// Why the instance metadata service gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImdsFault {
    /// The environment says not to ask.
    #[error("the instance metadata service is not asked: AWS_EC2_METADATA_DISABLED is true")]
    Disabled,
    /// The configured endpoint is no address of an HTTP service.
    #[error("{endpoint:?} is no address of an instance metadata service: {problem}")]
    Endpoint {
        /// The address, as it was configured.
        endpoint: String,
        /// The problem with it.
        problem: String,
    },
    /// No connection: no service listens, or no packet comes back.
    #[error("the instance metadata service at {endpoint} cannot be reached: {cause}")]
    Unreachable {
        /// The address.
        endpoint: String,
        /// The network's error.
        cause: String,
    },
    /// Connected, but the token request was never answered: the answer's hop limit is too low.
    #[error(
        "the instance metadata service at {endpoint} took the connection and did not answer the request for a token within {within:?}"
    )]
    TokenUnanswered {
        /// The address.
        endpoint: String,
        /// How long the agent waited.
        within: Duration,
    },
    /// The endpoint knows no tokens.
    #[error(
        "{endpoint} gives out no tokens (status {status}): it is version 1 of the instance metadata service or something else"
    )]
    NoVersionTwo {
        /// The address.
        endpoint: String,
        /// The answer's status.
        status: u16,
    },
    /// 403: switched off for this instance, or asked through a proxy.
    #[error(
        "the instance metadata service refuses to answer (403): it is switched off for this instance, or a proxy is in between"
    )]
    Forbidden,
    /// 401 with a fresh token.
    #[error("the instance metadata service does not take the token that it has just given out (401 for {path})")]
    TokenNotTaken {
        /// The requested path.
        path: String,
    },
    /// Too many requests from this instance.
    #[error("the instance metadata service throttles this instance (status {status} for {path})")]
    Throttled {
        /// The requested path.
        path: String,
        /// The answer's status.
        status: u16,
    },
    /// An unexpected status.
    #[error("the instance metadata service answered {path} with status {status}: {body}")]
    Status {
        /// The requested path.
        path: String,
        /// The answer's status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// No answer in time.
    #[error("the instance metadata service did not answer {path} within {within:?}")]
    Slow {
        /// The requested path.
        path: String,
        /// How long the agent waited.
        within: Duration,
    },
    /// The connection ended in the middle, or the bytes were not HTTP.
    #[error("the instance metadata service broke off while answering {path}: {cause}")]
    Broken {
        /// The requested path.
        path: String,
        /// The connection's error.
        cause: String,
    },
    /// An answer that does not fit the question.
    #[error("the instance metadata service answered {path} with something else: {problem}")]
    Garbage {
        /// The requested path.
        path: String,
        /// The problem with it.
        problem: String,
    },
    /// 404 for a path that every instance has.
    #[error("the instance metadata service has no {path}")]
    Missing {
        /// The requested path.
        path: String,
    },
}

impl ImdsFault {
    /// Whether the same request may be answered a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TokenUnanswered { .. }
            | Self::Throttled { .. }
            | Self::Slow { .. }
            | Self::Broken { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Disabled
            | Self::Endpoint { .. }
            | Self::NoVersionTwo { .. }
            | Self::Forbidden
            | Self::TokenNotTaken { .. }
            | Self::Garbage { .. }
            | Self::Missing { .. } => false,
        }
    }

    /// The remedy, for the operator.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Disabled => "unset AWS_EC2_METADATA_DISABLED, or name the host with instance_id in the configuration",
            Self::Endpoint { .. } => {
                "set AWS_EC2_METADATA_SERVICE_ENDPOINT to an address like http://169.254.169.254, or unset it"
            }
            Self::Unreachable { .. } => {
                "off EC2, name the host with instance_id in the configuration; on EC2, look for firewall rules and \
                 routes that catch 169.254.169.254 (fd00:ec2::254), and whether the network is up"
            }
            Self::TokenUnanswered { .. } => {
                "in a container the hop limit is too low: aws ec2 modify-instance-metadata-options \
                 --http-put-response-hop-limit 2"
            }
            Self::NoVersionTwo { .. } => "hostler uses version 2 only: use an endpoint that gives out tokens (IMDSv2)",
            Self::Forbidden => {
                "switch it on (aws ec2 modify-instance-metadata-options --http-endpoint enabled), and let no proxy take \
                 requests for it (they carry X-Forwarded-For, which it refuses)"
            }
            Self::TokenNotTaken { .. } => "see whether something between this host and the service changes requests",
            Self::Throttled { .. } => "find what else on this host asks it without pause",
            Self::Status { .. } | Self::Slow { .. } | Self::Broken { .. } => {
                "it is tried again; if it stays so, ask it by hand with curl and see what answers at that address"
            }
            Self::Garbage { .. } | Self::Missing { .. } => {
                "see what answers at that address: it is not the instance metadata service of EC2"
            }
        }
    }
}
