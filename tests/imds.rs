//! The client of the instance metadata service: version 2 only, the token's lifetime, and a separate error for every
//! fault.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use hostler_aws::imds::{Imds as Client, ImdsFault, ImdsSettings};

use crate::support::host::{Ended, Host};
use crate::support::imds::{Fault, Imds};

const ID: &str = "i-0123456789abcdef0";

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn client(service: &Imds) -> Client {
    Client::new(ImdsSettings::at(service.url())).unwrap()
}

/// A client with short timeouts, for faults that only time shows.
fn hasty(service: &Imds) -> Client {
    let settings =
        ImdsSettings { patience: Duration::from_millis(100), attempts: 2, ..ImdsSettings::at(service.url()) };
    Client::new(settings).unwrap()
}

fn fault_with(fault: Fault) -> (ImdsFault, usize) {
    let service = Imds::start(ID);
    service.change(|instance| instance.fault = Some(fault));
    let found = run(hasty(&service).instance_id()).unwrap_err();
    (found, service.requests().len())
}

#[test]
fn everything_about_the_instance_is_read_with_one_token() {
    let service = Imds::start(ID);
    let tags: BTreeMap<_, _> =
        [("Name", "web 1"), ("hostler:group", "shop/web")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    service.change(|instance| {
        instance.tags = Some(tags.clone());
        instance.target_state = Some("Warmed:Stopped".to_owned());
    });
    let imds = client(&service);
    run(async {
        assert_eq!(imds.instance_id().await.unwrap(), ID);
        assert_eq!(imds.region().await.unwrap(), "eu-central-1");
        assert_eq!(imds.availability_zone().await.unwrap(), "eu-central-1a");
        assert_eq!(imds.instance_type().await.unwrap(), "t3.micro");
        assert_eq!(imds.tags().await.unwrap(), Some(tags));
        assert_eq!(imds.target_lifecycle_state().await.unwrap().as_deref(), Some("Warmed:Stopped"));
        let document = imds.identity_document().await.unwrap();
        assert_eq!((document.account_id.as_str(), document.instance_id.as_str()), ("123456789012", ID));
    });
    assert_eq!(service.tokens_given_out(), 1);
}

#[test]
fn what_an_instance_does_not_have_is_no_fault() {
    let service = Imds::start(ID);
    let imds = client(&service);
    run(async {
        assert_eq!(imds.tags().await.unwrap(), None);
        assert_eq!(imds.target_lifecycle_state().await.unwrap(), None);
        assert_eq!(imds.get("meta-data/spot/instance-action").await.unwrap(), None);
    });
    service.change(|instance| instance.tags = Some(BTreeMap::new()));
    assert_eq!(run(client(&service).tags()).unwrap(), Some(BTreeMap::new()));
}

#[test]
fn a_token_is_renewed_when_it_is_refused_and_before_it_expires() {
    let service = Imds::start(ID);
    let imds = client(&service);
    run(imds.instance_id()).unwrap();
    service.forget_tokens();
    assert_eq!(run(imds.instance_id()).unwrap(), ID);
    assert_eq!(service.tokens_given_out(), 2);
    // An expired token is not used again.
    service.change(|instance| instance.token_seconds = 0);
    let imds = client(&service);
    run(imds.instance_id()).unwrap();
    run(imds.instance_id()).unwrap();
    assert_eq!(service.tokens_given_out(), 4);
    let refused = service.requests().iter().filter(|(method, _)| method == "GET").count();
    assert_eq!(refused, 5, "one was answered with 401, and none after it");
}

#[test]
fn nothing_is_ever_asked_without_a_token() {
    for fault in [Fault::NoTokens, Fault::SwitchedOff, Fault::TokenUnanswered] {
        let service = Imds::start(ID);
        service.change(|instance| instance.fault = Some(fault));
        run(hasty(&service).instance_id()).unwrap_err();
        assert!(service.requests().iter().all(|(method, _)| method == "PUT"), "{fault:?}: {:?}", service.requests());
    }
}

#[test]
fn faults_are_told_apart_by_what_must_be_done() {
    let (fault, requests) = fault_with(Fault::TokenUnanswered);
    assert!(matches!(fault, ImdsFault::TokenUnanswered { .. }), "{fault:?}");
    assert!(fault.remedy().contains("--http-put-response-hop-limit"), "{}", fault.remedy());
    assert_eq!(requests, 2, "bounded");
    let (fault, requests) = fault_with(Fault::NoTokens);
    assert!(matches!(fault, ImdsFault::NoVersionTwo { status: 405, .. }), "{fault:?}");
    assert_eq!(requests, 1, "what will not pass is not tried again");
    let (fault, _) = fault_with(Fault::SwitchedOff);
    assert_eq!(fault, ImdsFault::Forbidden);
    let (fault, _) = fault_with(Fault::Slow);
    assert!(matches!(fault, ImdsFault::Slow { .. }), "{fault:?}");
    let (fault, _) = fault_with(Fault::ErrorPage(9));
    assert!(matches!(&fault, ImdsFault::Status { status: 500, .. }), "{fault:?}");
    assert!(fault.to_string().contains("<title>500</title>") && !fault.to_string().contains('\n'), "{fault}");
    let (fault, _) = fault_with(Fault::Throttle(9));
    assert!(matches!(fault, ImdsFault::Throttled { status: 503, .. }), "{fault:?}");
    for garbage in [Fault::Garbage, Fault::Portal, Fault::Endless] {
        let (fault, _) = fault_with(garbage);
        assert!(matches!(fault, ImdsFault::Garbage { .. }), "{garbage:?}: {fault:?}");
    }
    let (fault, _) = fault_with(Fault::Broken);
    assert!(matches!(fault, ImdsFault::Broken { .. }), "{fault:?}");
    let (fault, _) = fault_with(Fault::TokensNotTaken);
    assert!(matches!(fault, ImdsFault::TokenNotTaken { .. }), "{fault:?}");
    // The port is closed: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Client::new(ImdsSettings::at(format!("http://{free}"))).unwrap();
    let fault = run(nobody.instance_id()).unwrap_err();
    assert!(matches!(&fault, ImdsFault::Unreachable { cause, .. } if cause.contains("refused")), "{fault:?}");
}

#[test]
fn faults_that_pass_are_waited_out() {
    for fault in [Fault::ErrorPage(2), Fault::Throttle(2)] {
        let service = Imds::start(ID);
        service.change(|instance| instance.fault = Some(fault));
        assert_eq!(run(client(&service).instance_id()).unwrap(), ID, "{fault:?}");
    }
}

#[test]
fn an_endpoint_of_ipv6_is_asked_by_the_client_and_by_the_program() {
    let Some(service) = Imds::start_ipv6_or_skip(ID) else { return };
    assert!(service.url().starts_with("http://[::1]:"), "{}", service.url());
    assert_eq!(run(client(&service).instance_id()).unwrap(), ID);
    let host = Host::new();
    let mut doctor = host.command(&["doctor"]);
    doctor.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url());
    Ended::of(doctor).saying(&[&format!("this host is {ID}, by the instance metadata service"), "[::1]"]);
}
