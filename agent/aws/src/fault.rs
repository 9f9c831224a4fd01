//! Every error of the SDK, sorted once: its kind, whether trying again helps, and the advice.

use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use hostler_core::error_chain::{causes, innermost};

/// S3's code for a bucket that does not exist.
pub(crate) const NO_SUCH_BUCKET: &str = "NoSuchBucket";

/// The kind of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The requested object does not exist.
    Absent,
    /// The caller is not allowed to do it; the IAM action that it would need.
    Denied(&'static str),
    /// Too many requests.
    Throttled,
    /// The clocks of this host and of AWS are too far apart for a signature.
    ClockSkew,
    /// The credentials are no longer valid.
    Expired,
    /// There are no credentials, or AWS does not know them.
    NoCredentials,
    /// A condition did not hold (412).
    Condition,
    /// Another request for the same thing came first (409).
    Conflict,
    /// The bucket is in another region, which the answer may have named.
    Elsewhere(Option<String>),
    /// A later try may succeed.
    Transient,
    /// Trying again does not help.
    Fatal,
}

/// A request that failed.
#[derive(Debug)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// The status of the answer, if there was an answer.
    pub status: Option<u16>,
    /// AWS's own name for it, for example `AccessDenied`.
    pub code: Option<String>,
    /// AWS's own words, or the network's.
    pub message: String,
    /// The request id, which AWS's support asks for.
    pub request_id: Option<String>,
    /// The second request id, which S3 sends.
    pub extended_request_id: Option<String>,
}

impl Fault {
    /// Sorts an error of an SDK operation that needs the IAM action `action`.
    pub fn of<E>(error: SdkError<E, HttpResponse>, action: &'static str) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let answer = error.raw_response().map(Answer::of);
        let code = error.code().map(str::to_owned);
        let message = error.message().map(str::to_owned);
        let kind = match &error {
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
                sort(answer.as_ref().map(|a| a.status), code.as_deref(), action, answer.as_ref())
            }
            SdkError::TimeoutError(_) => FaultKind::Transient,
            SdkError::DispatchFailure(failure) => dispatch(failure),
            _ => construction(&error),
        };
        let message = message.unwrap_or_else(|| in_our_words(reason(&error)));
        Self::new(kind, answer, code, message)
    }

    fn new(kind: FaultKind, answer: Option<Answer>, code: Option<String>, message: String) -> Self {
        let (status, request_id, extended_request_id) = match answer {
            Some(answer) => (Some(answer.status), answer.request_id, answer.extended_request_id),
            None => (None, None, None),
        };
        Self { kind, status, code, message, request_id, extended_request_id }
    }

    /// A fault without an answer from AWS.
    pub(crate) fn without_answer(kind: FaultKind, message: impl fmt::Display) -> Self {
        Self::new(kind, None, None, message.to_string())
    }

    /// A fault of the connection while an answer came.
    pub fn broken(message: impl fmt::Display) -> Self {
        Self::new(FaultKind::Transient, None, None, message.to_string())
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, FaultKind::Throttled | FaultKind::Transient | FaultKind::Conflict | FaultKind::Expired)
    }

    /// Advice for the operator, if there is any.
    pub fn advice(&self) -> Option<String> {
        Some(match &self.kind {
            FaultKind::Denied(action) => format!("allow {action} to the role or user of these credentials"),
            FaultKind::ClockSkew => "set the clock: timedatectl, or chronyc tracking".to_owned(),
            FaultKind::Expired => {
                "the credentials are renewed by themselves where a role gives them; renew them elsewhere".to_owned()
            }
            FaultKind::NoCredentials => return self.about_credentials(variable_is_set("AWS_PROFILE")),
            FaultKind::Absent if self.code.as_deref() == Some(NO_SUCH_BUCKET) => {
                "make the bucket, or correct its name".to_owned()
            }
            FaultKind::Throttled => {
                "fewer requests at a time; S3 raises its limits by itself within minutes".to_owned()
            }
            FaultKind::Elsewhere(Some(region)) => format!("it is in {region}"),
            _ => return None,
        })
    }

    /// Credentials that AWS has answered exist, and only other ones help. Where a profile is selected and gives none, the
    /// message says what to do about the profile.
    fn about_credentials(&self, profile_is_selected: bool) -> Option<String> {
        let advice = match (self.status, self.code.as_deref()) {
            (Some(_), Some("InvalidAccessKeyId")) => "use an access key that exists and is active in this partition",
            (Some(_), Some("SignatureDoesNotMatch" | "InvalidSignatureException")) => {
                "use the secret access key that belongs to the access key id"
            }
            (Some(_), _) => "use other credentials",
            (None, _) if profile_is_selected => return None,
            (None, _) => {
                "attach an instance profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
        };
        Some(advice.to_owned())
    }

    /// Its text without the request ids, which differ each time: by this, problems are the same or not.
    pub fn without_request_ids(&self) -> String {
        self.text(&[])
    }

    /// The ids of the request, as the text shows them.
    pub fn request_ids(&self) -> Vec<String> {
        let named = [("request id", &self.request_id), ("extended request id", &self.extended_request_id)];
        named.into_iter().filter_map(|(name, id)| Some(format!("{name} {}", id.as_ref()?))).collect()
    }

    fn text(&self, request_ids: &[String]) -> String {
        let kind = match self.kind {
            FaultKind::Absent => "it does not exist",
            FaultKind::Denied(_) => "access denied",
            FaultKind::Throttled => "too many requests",
            FaultKind::ClockSkew => "this host's clock differs from that of AWS",
            FaultKind::Expired => "the credentials have expired",
            FaultKind::NoCredentials => "there are no valid credentials",
            FaultKind::Condition => "a condition does not hold",
            FaultKind::Conflict => "another request came first",
            FaultKind::Elsewhere(_) => "it is in another region",
            FaultKind::Transient => "temporary failure",
            FaultKind::Fatal => "refused",
        };
        let status = self.status.map(|status| format!("HTTP {status}"));
        let facts: Vec<String> =
            self.code.clone().into_iter().chain(status).chain(request_ids.iter().cloned()).collect();
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        let advice = self.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        // Programs end their words with a line end, and the SDK with a full stop.
        let message = self.message.trim_end();
        let more = !facts.is_empty() || !advice.is_empty();
        let message = if more { message.trim_end_matches('.') } else { message };
        format!("{kind}: {message}{facts}{advice}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&self.request_ids()))
    }
}

impl Error for Fault {}

/// The parts of an answer besides its body.
pub(crate) struct Answer {
    status: u16,
    region: Option<String>,
    request_id: Option<String>,
    extended_request_id: Option<String>,
}

impl Answer {
    fn of(response: &HttpResponse) -> Self {
        let header = |name: &str| response.headers().get(name).map(str::to_owned);
        Self {
            status: response.status().as_u16(),
            region: header("x-amz-bucket-region"),
            request_id: header("x-amz-request-id").or_else(|| header("x-amzn-requestid")),
            extended_request_id: header("x-amz-id-2"),
        }
    }
}

/// By AWS's code first, then by the status.
pub(crate) fn sort(
    status: Option<u16>,
    code: Option<&str>,
    action: &'static str,
    answer: Option<&Answer>,
) -> FaultKind {
    let region = || answer.and_then(|a| a.region.clone());
    match code.unwrap_or_default() {
        "NoSuchKey" | "NoSuchBucket" | "NoSuchVersion" | "NoSuchUpload" | "NotFound" => return FaultKind::Absent,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => return FaultKind::ClockSkew,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => return FaultKind::Expired,
        "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId" => return FaultKind::NoCredentials,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "ThrottledException"
        | "ProvisionedThroughputExceededException"
        | "PriorRequestNotComplete" => return FaultKind::Throttled,
        "PreconditionFailed" => return FaultKind::Condition,
        "ConditionalRequestConflict" | "OperationAborted" => return FaultKind::Conflict,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => return FaultKind::Elsewhere(region()),
        "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => return FaultKind::Transient,
        "AccessDenied" | "AllAccessDisabled" | "AccessDeniedException" | "UnauthorizedOperation" | "OptInRequired" => {
            return FaultKind::Denied(action);
        }
        code if names_something_absent(code) => return FaultKind::Absent,
        _ => {}
    }
    match status {
        Some(301 | 307 | 308) => FaultKind::Elsewhere(region()),
        // HEAD answers have no body with more details.
        Some(400) if region().is_some() => FaultKind::Elsewhere(region()),
        Some(401 | 403) => FaultKind::Denied(action),
        Some(404 | 410) => FaultKind::Absent,
        Some(409) => FaultKind::Conflict,
        Some(412) => FaultKind::Condition,
        Some(408) => FaultKind::Transient,
        Some(429) => FaultKind::Throttled,
        Some(503) if code.is_some() => FaultKind::Throttled,
        Some(500..) => FaultKind::Transient,
        // A good status, but the body differs from the announced one.
        Some(200..=299) => FaultKind::Transient,
        _ => FaultKind::Fatal,
    }
}

/// JSON services answer 400 for an absent object, and say so in the code only.
fn names_something_absent(code: &str) -> bool {
    code.ends_with("NotFoundException") || code.contains("DoesNotExist") || code.contains("NonExistent")
}

fn dispatch(failure: &aws_smithy_runtime_api::client::result::DispatchFailure) -> FaultKind {
    if failure.is_io() || failure.is_timeout() {
        return FaultKind::Transient;
    }
    match failure.as_connector_error() {
        Some(error) if is_about_credentials(error) => FaultKind::NoCredentials,
        Some(error) if error.as_other().is_some() => FaultKind::Transient,
        _ => FaultKind::Fatal,
    }
}

fn construction<E: Error + 'static>(error: &E) -> FaultKind {
    if is_about_credentials(error) { FaultKind::NoCredentials } else { FaultKind::Fatal }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| error.is::<aws_credential_types::provider::error::CredentialsError>())
}

/// What the SDK says of the last place where it looked for credentials reads as if that place were needed.
fn in_our_words(message: String) -> String {
    match message.starts_with("request forbidden: IMDS is disabled") {
        true => {
            "neither the environment nor ~/.aws has any, and the instance metadata service is off or refuses".to_owned()
        }
        false => message,
    }
}

fn variable_is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The innermost error's message. The SDK's type for an answer without a reason prints Rust values.
fn reason(error: &(dyn Error + 'static)) -> String {
    let is_empty = causes(error).last().is_some_and(|error| error.is::<ErrorMetadata>());
    if is_empty { "the answer names no reason".to_owned() } else { innermost(error) }
}

#[cfg(test)]
mod tests;
