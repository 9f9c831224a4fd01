use super::*;

fn sorted(status: u16, code: &str, region: Option<&str>) -> FaultKind {
    let answer = Answer { status, region: region.map(str::to_owned), request_id: None, extended_request_id: None };
    sort(Some(status), Some(code).filter(|c| !c.is_empty()), "s3:GetObject", Some(&answer))
}

#[test]
fn every_fault_has_its_kind() {
    for (status, code, kind) in [
        (404, "NoSuchKey", FaultKind::Absent),
        (404, "", FaultKind::Absent),
        (403, "AccessDenied", FaultKind::Denied("s3:GetObject")),
        (403, "", FaultKind::Denied("s3:GetObject")),
        (403, "RequestTimeTooSkewed", FaultKind::ClockSkew),
        (400, "ExpiredToken", FaultKind::Expired),
        (403, "InvalidAccessKeyId", FaultKind::NoCredentials),
        (503, "SlowDown", FaultKind::Throttled),
        (503, "", FaultKind::Transient),
        (500, "", FaultKind::Transient),
        (412, "PreconditionFailed", FaultKind::Condition),
        (409, "ConditionalRequestConflict", FaultKind::Conflict),
        (400, "InvalidArgument", FaultKind::Fatal),
        (200, "", FaultKind::Transient),
    ] {
        assert_eq!(sorted(status, code, None), kind, "{status} {code}");
    }
}

#[test]
fn a_bucket_elsewhere_is_known_by_each_of_its_answers() {
    let there = FaultKind::Elsewhere(Some("eu-west-1".to_owned()));
    for (status, code) in [
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (301, ""),
        (400, ""),
    ] {
        assert_eq!(sorted(status, code, Some("eu-west-1")), there, "{status} {code}");
    }
    assert_eq!(sorted(301, "PermanentRedirect", None), FaultKind::Elsewhere(None));
    assert_eq!(sorted(400, "", None), FaultKind::Fatal);
}

#[test]
fn advice_about_credentials_fits_what_is_known_of_them() {
    let advised = |status, code: Option<&str>, selected| {
        let fault =
            Fault { status, code: code.map(str::to_owned), ..Fault::without_answer(FaultKind::NoCredentials, "") };
        fault.about_credentials(selected).unwrap_or_default()
    };
    assert!(advised(None, None, false).starts_with("attach an instance profile"));
    assert_eq!(advised(None, None, true), "");
    for selected in [false, true] {
        assert!(advised(Some(403), Some("InvalidAccessKeyId"), selected).contains("an access key that exists"));
        assert!(advised(Some(403), Some("SignatureDoesNotMatch"), selected).contains("secret access key that belongs"));
        assert_eq!(advised(Some(403), Some("AuthFailure"), selected), "use other credentials");
    }
}

#[test]
fn the_words_of_others_end_where_ours_go_on() {
    let fault = |kind, message: &str| Fault::without_answer(kind, message).to_string();
    assert_eq!(
        fault(FaultKind::Throttled, "slow down.\n"),
        "too many requests: slow down; fewer requests at a time; S3 raises its limits by itself within minutes"
    );
    assert_eq!(fault(FaultKind::Fatal, "it is so.\n"), "refused: it is so.");
    let forbidden = "request forbidden: IMDS is disabled or the caller has insufficient permissions.";
    assert!(in_our_words(forbidden.to_owned()).starts_with("neither the environment nor ~/.aws"));
    assert_eq!(in_our_words("timed out".to_owned()), "timed out");
}

#[test]
fn a_fault_says_what_to_do_and_what_support_asks_for() {
    let fault = Fault {
        kind: FaultKind::Denied("s3:GetObject"),
        status: Some(403),
        code: Some("AccessDenied".to_owned()),
        message: "Access Denied".to_owned(),
        request_id: Some("R1".to_owned()),
        extended_request_id: Some("X2".to_owned()),
    };
    let text = fault.to_string();
    for part in
        ["access denied", "AccessDenied", "HTTP 403", "request id R1", "extended request id X2", "allow s3:GetObject"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
