//! Releases and deployments against moto: a second opinion on the behaviour of S3.

use std::fs;
use std::thread;

use super::{S3Host, noise, store};
use crate::support::host::Host;
use crate::support::moto::Moto;
use crate::support::s3_front::BUCKET;

#[test]
fn releases_are_published_followed_updated_and_put_back() {
    let Some(moto) = Moto::start_or_skip() else { return };
    moto.make_bucket(BUCKET, false);
    let host = S3Host::new(&moto.url());
    host.once().with_code(5).saying(&["holds no release"]);
    // Large enough for an upload in parts.
    let first = host.push(host.bundle("v1").content("app/big", noise(20 << 20, 1)));
    host.ok(&["release", &store(), &first[..18]]).saying(&["release 1", &first["sha256:".len()..][..8]]);
    host.once().with_code(0).saying(&["succeeded"]);
    assert_eq!(host.version(), "v1");
    assert_eq!(fs::read(host.host.at("srv/app/big")).unwrap(), noise(20 << 20, 1));
    host.once().with_code(0).saying(&["runs release 1"]);

    // The same bytes are not stored twice.
    let again = host.host.path("bundle-v1");
    let pushed = host.ok(&["push", again.to_str().unwrap(), &store(), "-t", "zip", "--json"]).json();
    assert_eq!((pushed["stored"].as_bool(), pushed["revision"].as_str()), (Some(false), Some(first.as_str())));

    host.release(host.bundle("v2"));
    host.once().with_code(0);
    assert_eq!(host.version(), "v2");
    host.ok(&["rollback"]);
    assert_eq!(host.version(), "v1");
    let status = host.ok(&["status", "--json"]).json();
    assert!(status.to_string().contains(&first), "{status}");

    // Invalid store names, and a revision that does not exist.
    host.run(&["release", "s3://", &first]).with_code(2).saying(&["s3://BUCKET"]);
    host.run(&["release", "s3://no-such-bucket/x", &first])
        .with_code(5)
        .saying(&["there is no bucket no-such-bucket (NoSuchBucket", "request id"]);
    host.run(&["release", &store(), &"0".repeat(64)]).with_code(5).saying(&["push it first"]);
}

#[test]
fn of_several_publishers_each_release_has_one() {
    let Some(moto) = Moto::start_or_skip() else { return };
    moto.make_bucket(BUCKET, false);
    let host = S3Host::new(&moto.url());
    let revision = host.push(host.bundle("v1"));
    let published: Vec<u64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let release = host.run(&["release", &store(), &revision, "--json"]);
                    (release.code == Some(0)).then(|| release.json()["sequence"].as_u64().unwrap())
                })
            })
            .collect();
        writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
    });
    let mut sequences = published.clone();
    sequences.sort_unstable();
    let expected: Vec<u64> = (1..=published.len() as u64).collect();
    assert_eq!(sequences, expected, "each sequence was published by exactly one");
    assert!(!published.is_empty());
    let next = host.ok(&["release", &store(), &revision, "--json"]).json();
    assert_eq!(next["sequence"].as_u64(), Some(published.len() as u64 + 1));
}

#[test]
fn any_object_can_be_deployed_planned_and_released_by_its_version() {
    let Some(moto) = Moto::start_or_skip() else { return };
    moto.make_bucket(BUCKET, true);
    let host = S3Host::new(&moto.url());
    let zip = |version: &str| {
        let directory = host.bundle(version).write();
        let store = Host::new();
        let at = store.store();
        host.ok(&["push", directory.to_str().unwrap(), at.to_str().unwrap(), "-t", "zip"]);
        let packed = fs::read_dir(at.join("revisions")).unwrap().next().unwrap().unwrap().path();
        fs::read(packed).unwrap()
    };
    let target = format!("/{BUCKET}/app-pipeline/BuildArtif/AbC%20d1.zip");
    let put = |bytes: &[u8]| {
        let answer = moto.request("PUT", &target, bytes);
        let header = answer.lines().find_map(|line| line.strip_prefix("x-amz-version-id: ")).unwrap();
        header.trim().to_owned()
    };
    let first = put(&zip("v1"));
    let second = put(&zip("v2"));
    let place = format!("s3://{BUCKET}/app-pipeline/BuildArtif/AbC%20d1.zip");
    let of = |version: &str| format!("{place}?versionId={version}");

    host.ok(&["plan", &of(&first)]).saying(&["only-v1"]);
    host.ok(&["deploy", &of(&first)]);
    assert_eq!(host.version(), "v1");
    host.ok(&["deploy", &place]);
    assert_eq!(host.version(), "v2");
    let status = host.ok(&["status", "--json"]).json();
    let installed = &status["groups"][0]["installed"]["revision"];
    assert!(installed["location"].as_str().unwrap().ends_with(&second), "{installed}");
    assert!(installed["digest"].as_str().unwrap().starts_with("sha256:"), "{installed}");

    // A release names the version that was current then, whatever is stored later.
    host.ok(&["release", &store(), &of(&first)]);
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    host.ok(&["release", &store(), &place]);
    put(&zip("v3"));
    host.once().with_code(0);
    assert_eq!(host.version(), "v2");

    host.run(&["release", &store(), &format!("s3://{BUCKET}/none.zip")]).with_code(5).saying(&["no such object"]);
    moto.request("PUT", &format!("/{BUCKET}/words.txt"), b"no bundle at all");
    host.run(&["release", &store(), &format!("s3://{BUCKET}/words.txt")]).with_code(6).saying(&["not a bundle"]);
    host.run(&["deploy", &format!("s3://{BUCKET}/none.zip")]).with_code(5).saying(&["no such object"]);
}
