//! Bundles from S3 on loopback: a download beside curl and sha256sum, and the bytes moved for a small change of a big
//! zip.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use hostler_aws::clients::Clients;
use hostler_aws::store_s3::{DownloadTarget, S3Object};
use hostler_core::config::settings::{AwsSettings, DownloadSettings};
use hostler_core::ids::Sha256Digest;
use hostler_core::limits::Limits;
use hostler_core::store::Content;

use crate::http_server::{Reply, Request, Server};
use crate::support::{fastest, has, hostler_at, measure, memory_directory, output, this_program, verdict};

const ROUNDS: usize = 5;
const OBJECT_BYTES: usize = 500_000_000;
const PEAK_KIB: i64 = 64 << 10;

/// A 500 MB object over plain HTTP and over TLS.
pub fn download() -> bool {
    let object = noise(OBJECT_BYTES, 1);
    let digest = Sha256Digest::of(&object);
    let serve = {
        let object = object.clone();
        move |request: Request| {
            let reply = answer(&request, &object);
            async move { reply }
        }
    };
    let plain = compare("plain HTTP", &Server::start(serve.clone()), None, &digest);
    let tls = Server::start_tls(serve);
    compare("TLS", &tls, Some(tls.certificate()), &digest) && plain
}

fn compare(name: &str, server: &Server, certificate: Option<&str>, digest: &Sha256Digest) -> bool {
    let room = memory_directory();
    let path = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs, pem) = (path("ours"), path("theirs"), path("own.pem"));
    fs::write(&pem, certificate.unwrap_or_default()).unwrap();
    let url = server.url();
    let (mut hostler, mut curl, mut sum) = (Vec::new(), Vec::new(), Vec::new());
    if !has("curl") {
        return true;
    }
    for _ in 0..ROUNDS {
        let bundle = if certificate.is_some() { pem.as_str() } else { "" };
        let mut command = this_program(&["download", &url, &ours, &digest.hex(), bundle]);
        hostler.push(measure(credentials(&mut command)));
        let object = format!("{url}/own-bucket/object");
        curl.push(measure(Command::new("curl").args(["-sf", "--cacert", &pem, "-o", &theirs, &object])));
        sum.push(measure(Command::new("sha256sum").arg(&theirs).stdout(Stdio::null())));
        fs::remove_file(&ours).expect("our result");
        fs::remove_file(&theirs).expect("curl's result");
    }
    let peak = hostler.iter().map(|run| run.peak_kib).max().unwrap_or_default();
    let (hostler, curl, sum) = (fastest(&hostler), fastest(&curl), fastest(&sum));
    println!("{name}, {} MB", OBJECT_BYTES / 1_000_000);
    println!("  hostler    {hostler}");
    println!("  curl       {curl}");
    println!("  sha256sum  {sum}");
    let ratio = hostler.wall.as_secs_f64() / curl.wall.max(sum.wall).as_secs_f64();
    let time = verdict("time", ratio, "times the slower of curl and sha256sum", ratio <= 1.25, "1.25");
    verdict("peak", peak as f64 / 1024.0, "MiB", peak < PEAK_KIB, "below 64") && time
}

fn credentials(command: &mut Command) -> &mut Command {
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
}

/// The measured child.
pub fn child(endpoint: &str, into: &Path, digest: &str, ca_bundle: &str) {
    let settings = AwsSettings {
        endpoint_url: Some(endpoint.to_owned()),
        ca_bundle: Some(ca_bundle).filter(|path| !path.is_empty()).map(Into::into),
        ..AwsSettings::default()
    };
    let clients = Arc::new(Clients::new(settings).expect("the way there"));
    let place = "s3://own-bucket/object".parse().expect("a place");
    let object = S3Object::new(clients, place, Arc::new(Limits::default()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(into).expect("a file");
    let expected = Content { size: OBJECT_BYTES as u64, sha256: digest.parse().expect("a digest") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
    let landing = DownloadTarget { file: file.as_fd(), note: None, meter: None };
    let settings = DownloadSettings::default();
    let download = object.download(landing, Some(&expected), &settings);
    runtime.expect("a runtime").block_on(download).expect("the download");
}

/// A zip of 500 MB in which one file in a hundred is changed.
pub fn delta() -> bool {
    const FILES: u64 = 500;
    let room = memory_directory();
    let (tree, store, root) = (room.path().join("tree"), room.path().join("store"), room.path().join("root"));
    for directory in [&tree.join("app"), &store, &root] {
        fs::create_dir_all(directory).expect("a directory");
    }
    fs::write(
        tree.join("appspec.yml"),
        "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\n",
    )
    .unwrap();
    let fill = |file: u64, seed: u64| {
        let mut out = File::create(tree.join(format!("app/file-{file}"))).expect("a file");
        out.write_all(&noise(1_000_000, seed)).expect("content");
    };
    let pack = || {
        let revision = output(crate::support::hostler("push").arg(&tree).arg(&store).args(["-t", "zip"]));
        let hex = revision.trim().trim_start_matches("sha256:").to_owned();
        Bytes::from(fs::read(store.join("revisions").join(hex)).expect("the zip"))
    };
    (0..FILES).for_each(|file| fill(file, file + 1));
    let first = pack();
    (0..FILES / 100).for_each(|change| fill(change * 100 + 50, 10_000 + change));
    let second = pack();
    let size = second.len() as f64;
    let server = Server::start(move |request: Request| {
        let object = if request.path().ends_with("first.zip") { &first } else { &second };
        let reply = answer(&request, object);
        async move { reply }
    });
    let mut moved = Vec::new();
    let mut times = Vec::new();
    for name in ["first", "second"] {
        let mut release = hostler_at(&root, "release");
        release.arg(&store).arg(format!("s3://own-bucket/{name}.zip")).env("AWS_ENDPOINT_URL", server.url());
        output(credentials(&mut release));
        let before = server.body_bytes_sent();
        let mut run = hostler_at(&root, "run");
        run.arg("--once").arg("--channel").arg(&store).env("AWS_ENDPOINT_URL", server.url()).stdout(Stdio::null());
        times.push(measure(credentials(&mut run)));
        moved.push((server.body_bytes_sent() - before) as f64);
    }
    println!("  the first deployment fetched  {:6.1} MB  {}", moved[0] / 1e6, times[0]);
    println!("  the second, 1 % changed       {:6.1} MB  {}", moved[1] / 1e6, times[1]);
    let share = 100.0 * moved[1] / size;
    verdict("bytes moved", share, "% of the zip", share < 5.0, "below 5")
}

fn answer(request: &Request, object: &Bytes) -> Reply {
    let tag = format!("\"{:x}\"", object.len());
    let size = object.len();
    let reply = match (request.method.as_str(), request.header("range").strip_prefix("bytes=")) {
        ("HEAD", _) => Reply::new(200, "").claims_length(size as u64),
        (_, None) => Reply::new(200, object.clone()),
        (_, Some(range)) => {
            let (from, to) = range.split_once('-').expect("a range");
            let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
            let reply = Reply::new(206, object.slice(from..to.min(size - 1) + 1));
            reply.header("content-range", format!("bytes {from}-{to}/{size}"))
        }
    };
    reply.header("etag", tag)
}

/// Bytes that do not compress.
fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content.into()
}
