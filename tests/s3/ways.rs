//! Connections to AWS: names of endpoints, the proxy, expiring credentials, download speed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_aws::clients::Clients;
use hostler_aws::codedeploy::credentials;
use hostler_aws::store_s3::{DownloadTarget, S3Store};
use hostler_core::codedeploy::agent_config::OnPremisesCredentials;
use hostler_core::codedeploy::specification::Secret;
use hostler_core::config::settings::{AwsSettings, DownloadSettings};
use hostler_core::limits::Limits;

use super::{S3Host, noise};
use crate::support::host::Host;
use crate::support::http_server::{Reply, Request, Server};
use crate::support::imds::Imds;
use crate::support::s3_front::{ACCESS_KEY, BUCKET, Front, SECRET_KEY, error};

/// A proxy that forwards nothing and records the requested hosts.
fn proxy() -> Server {
    Server::start(|_| async { Reply::new(502, "") })
}

fn asked(proxy: &Server) -> Vec<String> {
    let mut hosts: Vec<String> = proxy.requests().into_iter().map(|(_, target)| target).collect();
    hosts.dedup();
    hosts
}

#[test]
fn fips_and_dual_stack_endpoints_are_asked_by_their_names() {
    for (settings, bucket, kms) in [
        ("", "own-bucket.s3.us-west-2.amazonaws.com:443", "kms.us-west-2.amazonaws.com:443"),
        (
            "use_fips_endpoint: true",
            "own-bucket.s3-fips.us-west-2.amazonaws.com:443",
            "kms-fips.us-west-2.amazonaws.com:443",
        ),
        (
            "use_dualstack_endpoint: true",
            "own-bucket.s3.dualstack.us-west-2.amazonaws.com:443",
            "kms.us-west-2.api.aws:443",
        ),
        (
            "use_fips_endpoint: true, use_dualstack_endpoint: true",
            "own-bucket.s3-fips.dualstack.us-west-2.amazonaws.com:443",
            "kms-fips.us-west-2.api.aws:443",
        ),
    ] {
        let proxy = proxy();
        let mut host = S3Host::new("");
        host.environment.retain(|(name, _)| !matches!(*name, "AWS_ENDPOINT_URL" | "AWS_REGION"));
        host.host.configure(&format!("aws: {{region: us-west-2, proxy: '{}', {settings}}}\n", proxy.url()));
        host.once().with_code(1);
        assert_eq!(asked(&proxy), [bucket], "{settings}");
        let local = host.host.store();
        host.run(&["release", local.to_str().unwrap(), "sha256:00", "--kms-key", "alias/ci"]).with_code(1);
        assert_eq!(asked(&proxy), [bucket, kms], "{settings}");
    }
}

#[test]
fn hosts_that_the_configuration_reaches_directly_are_not_behind_the_environments_proxy() {
    let refusing = || Server::start(|_| async { Reply::new(400, r#"{"__type":"NotFoundException"}"#) });
    for (settings, directly) in [("", false), (", no_proxy: [127.0.0.1]", true)] {
        let (proxy, kms) = (refusing(), refusing());
        let mut host = S3Host::new(&kms.url());
        host.environment.push(("HTTP_PROXY", proxy.url()));
        host.host.configure(&format!("aws: {{region: us-east-1{settings}}}\n"));
        let local = host.host.store();
        host.run(&["release", local.to_str().unwrap(), "sha256:00", "--kms-key", "alias/ci"]);
        let (by_proxy, by_itself) = (proxy.requests().len(), kms.requests().len());
        assert_eq!((by_proxy > 0, by_itself > 0), (!directly, directly), "{settings}: {by_proxy} {by_itself}");
        // The store uses the same connection.
        let before = (proxy.requests().len(), kms.requests().len());
        host.once();
        let after = (proxy.requests().len() - before.0, kms.requests().len() - before.1);
        assert_eq!((after.0 > 0, after.1 > 0), (!directly, directly), "{settings}: {after:?}");
    }
}

/// A host with the credentials of a role.
fn with_role(front: &Front, service: &Imds) -> S3Host {
    let mut host = S3Host::of(front);
    host.environment.retain(|(name, _)| {
        !matches!(*name, "AWS_EC2_METADATA_DISABLED" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY")
    });
    host.environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url()));
    host
}

#[test]
fn credentials_that_are_refused_as_expired_are_asked_for_again_once() {
    let front = Front::start();
    let publisher = S3Host::of(&front);
    publisher.release(publisher.bundle("v1"));
    let service = Imds::start("i-0123456789abcdef0");
    service.change(|instance| instance.role = Some("web".to_owned()));
    let host = with_role(&front, &service);
    let expired = || error(400, "ExpiredToken", "The provided token has expired.");
    let is_release = |request: &Request| request.method == "GET" && request.path().ends_with("release.json");
    let is_bundle = |request: &Request| request.method == "GET" && request.path().contains("/revisions/");
    let asked = || {
        let requests = service.requests();
        requests.iter().filter(|(_, path)| path.ends_with("security-credentials/web")).count()
    };
    front.instead(1, is_release, expired());
    front.instead(1, is_bundle, expired());
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    assert_eq!(asked(), 3, "at first, and after each refusal: {:?}", (service.requests(), front.server().requests()));
    // Credentials that are no better are not requested endlessly.
    let before = asked();
    front.instead(1000, is_release, expired());
    host.once().with_code(1).saying(&["the credentials have expired", "ExpiredToken"]);
    assert_eq!(asked() - before, 2);
}

#[test]
fn the_bandwidth_is_not_passed() {
    let front = Front::start();
    let host = S3Host::of(&front);
    host.release(host.bundle("v1").content("app/big", noise(3 << 20, 1)));
    host.host.configure("downloads: {max_bytes_per_second: 1000000}\n");
    let began = Instant::now();
    host.once().with_code(0);
    // A slow machine only takes longer.
    assert!(began.elapsed() >= Duration::from_millis(3000), "{:?} for 3 MiB at 1 MB/s", began.elapsed());
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_connection_that_brings_too_little_is_replaced() {
    let front = Front::start();
    let bytes = noise(5 << 20, 3);
    front.put("st/big", bytes.clone());
    let first = |request: &Request| request.method == "GET";
    // Some bytes a second, forever.
    front.then(1, first, |reply| reply.slowly(1000, Duration::from_millis(200)));
    let host = Host::new();
    let limits = Limits { download_stall_seconds: 2, ..Limits::default() };
    let settings = AwsSettings { endpoint_url: Some(front.server().url()), ..AwsSettings::default() };
    let secret_access_key = Secret::new(SECRET_KEY.to_owned());
    let on_premises = OnPremisesCredentials::User { access_key_id: ACCESS_KEY.to_owned(), secret_access_key };
    let clients = Clients::new(settings).unwrap().with_credentials(credentials(&on_premises));
    let place = format!("s3://{BUCKET}/st").parse().unwrap();
    let downloads = DownloadSettings::default();
    let bucket = S3Store::new(Arc::new(clients), place, Arc::new(limits), downloads.clone());
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(host.path("big")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let landing = DownloadTarget { file: std::os::fd::AsFd::as_fd(&file), note: None, meter: None };
    let began = Instant::now();
    runtime.block_on(bucket.object(&"big".parse().unwrap()).download(landing, None, &downloads)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(300), "at its own pace it would take 17 minutes");
    assert_eq!(std::fs::read(host.path("big")).unwrap(), bytes);
    let reads = front.objects().reads.clone();
    assert!(reads.len() == 2 && reads[1].1 > 0, "it goes on where the slow one was: {reads:?}");
}
