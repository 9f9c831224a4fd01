//! Bundles at `https://` addresses and in files of the hosts: downloads, interruptions, refusals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::s3::noise;
use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Host, PATIENCE, ended_with_input};
use crate::support::http_server::{Reply, Request, Server};

const MIB: usize = 1 << 20;

/// A change to an answer.
type Change = Box<dyn FnMut(Reply) -> Reply + Send>;

#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// The changes to answers, and how often they apply.
    changes: Vec<(usize, Change)>,
    /// The requested ranges, as sent; empty for the whole file.
    ranges: Vec<String>,
    /// Whether the server ignores ranges and ETags.
    ignores_ranges: bool,
}

/// A web server over TLS with files, like any artifact store.
struct Site {
    server: Server,
    files: Arc<Mutex<Files>>,
}

impl Site {
    fn start() -> Self {
        let files = Arc::new(Mutex::new(Files::default()));
        let answering = Arc::clone(&files);
        let server = Server::start_tls(move |request| {
            let reply = answering.lock().unwrap().answer(&request);
            async move { reply }
        });
        Self { server, files }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.server.url())
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().files.insert(format!("/{path}"), bytes.into());
    }

    fn then(&self, times: usize, change: impl FnMut(Reply) -> Reply + Send + 'static) {
        self.files.lock().unwrap().changes.push((times, Box::new(change)));
    }

    fn instead(&self, times: usize, reply: Reply) {
        self.then(times, move |_| reply.clone());
    }

    fn forget_changes(&self) {
        self.files.lock().unwrap().changes.clear();
    }

    fn ranges(&self) -> Vec<String> {
        std::mem::take(&mut self.files.lock().unwrap().ranges)
    }
}

impl Files {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(to) = request.query().strip_prefix("to=") {
            return Reply::new(302, "").header("location", to.to_owned());
        }
        self.ranges.push(request.header("range").to_owned());
        let reply = self.file(request);
        match self.changes.iter_mut().find(|(times, _)| *times > 0) {
            Some((times, change)) => {
                *times -= 1;
                change(reply)
            }
            None => reply,
        }
    }

    fn file(&self, request: &Request) -> Reply {
        let Some(bytes) = self.files.get(request.path()) else { return Reply::new(404, "<html>no</html>") };
        if self.ignores_ranges {
            return Reply::new(200, bytes.clone());
        }
        let etag = format!("\"{}\"", &hostler_core::ids::Sha256Digest::of(bytes).hex()[..16]);
        let from = request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let pinned = request.header("if-range");
        match from.and_then(|from| from.parse::<usize>().ok()).filter(|_| pinned.is_empty() || pinned == etag) {
            Some(from) if from >= bytes.len() => Reply::new(416, ""),
            Some(from) => Reply::new(206, bytes[from..].to_vec())
                .header("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
                .header("etag", etag),
            None => Reply::new(200, bytes.clone()).header("etag", etag),
        }
    }
}

/// A host that trusts the site.
fn host_of(site: &Site) -> Host {
    let host = Host::new();
    let certificate = host.path("site.pem");
    std::fs::write(&certificate, site.server.certificate()).unwrap();
    host.configure(&format!("aws: {{ca_bundle: {}}}\n", certificate.display()));
    host
}

/// A packed bundle with this many bytes that do not compress.
fn packed(host: &Host, version: &str, bytes: usize) -> Vec<u8> {
    let bundle = Bundle::new(host, version).app().content("app/big", noise(bytes, 7)).write();
    let store = host.path("packing");
    std::fs::create_dir_all(&store).unwrap();
    let pushed = host.ok(&["push", bundle.to_str().unwrap(), store.to_str().unwrap()]);
    std::fs::read(store.join("revisions").join(pushed.out.trim().strip_prefix("sha256:").unwrap())).unwrap()
}

fn release(host: &Host, what: &str, more: &[&str]) -> Ended {
    let store = host.store();
    host.run(&[&["release", store.to_str().unwrap(), what], more].concat())
}

fn once(host: &Host) -> Ended {
    let store = host.store();
    host.run(&["run", "--once", "--channel", store.to_str().unwrap()])
}

/// How much of the bundle an agent has downloaded, whether it runs or was killed.
fn brought(host: &Host) -> u64 {
    let groups = std::fs::read_dir(host.state().join("deployment-root")).into_iter().flatten().flatten();
    let bundles = groups.flat_map(|group| std::fs::read_dir(group.path().join("bundles")).into_iter().flatten());
    let partial = |path: &PathBuf| path.extension().is_some_and(|e| e == "partial");
    let mut found = bundles.flatten().map(|entry| entry.path()).filter(partial);
    found.next().and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len())
}

#[test]
fn an_address_is_deployed_and_planned() {
    let site = Site::start();
    let host = host_of(&site);
    site.put("app.tgz", packed(&host, "v1", 100));
    let address = site.url("app.tgz?token=secret");
    host.ok(&["plan", &address]);
    assert_eq!(host.version(), "", "nothing is changed by a plan");
    let said = host.ok(&["deploy", &address]);
    assert_eq!(host.version(), "v1");
    let history = host.ok(&["history", "--json"]).out;
    let shown = format!("{}{}{}{history}", said.out, said.err, host.ok(&["status", "--json"]).out);
    assert!(shown.contains("/app.tgz?…") && !shown.contains("secret"), "{shown}");
}

#[test]
fn an_address_on_standard_input_is_in_no_argument_and_no_error_repeats_a_secret() {
    let site = Site::start();
    let host = host_of(&site);
    site.put("app.tgz", packed(&host, "v1", 100));
    let with_input = |verb: &str, input: &str| ended_with_input(host.command(&[verb, "-"]), input);
    let address = site.url("app.tgz?token=secret");
    with_input("plan", &address).with_code(0);
    let said = with_input("deploy", &format!(" {address}\r\n")).with_code(0);
    assert_eq!(host.version(), "v1");
    assert!(!format!("{said:?}").contains("secret"), "{said:?}");
    for (input, problem) in [("", "is empty"), ("https://a/b\nhttps://c/d\n", "more than one line")] {
        with_input("deploy", input).with_code(2).saying(&[problem, "the bundle's address"]);
    }
    let port = site.server.url().rsplit_once(':').unwrap().1.to_owned();
    let with_password = format!("https://me:secret@localhost:{port}/app.tgz");
    let absent = site.url("absent.tgz?token=secret");
    for (input, code) in [(with_password.as_str(), 2), (absent.as_str(), 5), ("http://h/b?token=secret", 2)] {
        for said in [with_input("deploy", input), with_input("plan", input), host.run(&["deploy", input])] {
            let said = said.with_code(code);
            assert!(!format!("{said:?}").contains("secret"), "{said:?}");
        }
    }
    let channel = host.run(&["run", "--once", "--channel", &with_password]);
    assert!(channel.code != Some(0) && !format!("{channel:?}").contains("secret"), "{channel:?}");
}

#[test]
fn a_release_of_an_address_names_its_digest_and_nothing_else_is_deployed() {
    let site = Site::start();
    let host = host_of(&site);
    let bundle = packed(&host, "v1", 100);
    site.put("app.tgz", bundle.clone());
    release(&host, &site.url("app.tgz"), &[]).with_code(0);
    once(&host).with_code(0);
    assert_eq!(host.version(), "v1");
    // The same digest is already here.
    site.ranges();
    release(&host, &site.url("app.tgz"), &[]).with_code(0);
    assert_eq!(site.ranges().len(), 1, "the release fetches it");
    once(&host).with_code(0).saying(&["release 2"]);
    assert_eq!(site.ranges(), [""; 0], "the host does not");

    // Another publisher replaces the file: with the same size, with another size, with none.
    site.put("v2.tgz", packed(&host, "v2", 100));
    release(&host, &site.url("v2.tgz"), &[]).with_code(0);
    let mut other = packed(&host, "v2", 100);
    let middle = other.len() / 2;
    other[middle] ^= 1;
    site.put("v2.tgz", other.clone());
    once(&host).with_code(6).saying(&["and should be", "v2.tgz"]);
    site.put("v2.tgz", &other[1..]);
    host.ok(&["resume"]);
    once(&host).with_code(6).saying(&["bytes and should have"]);
    site.files.lock().unwrap().files.clear();
    host.ok(&["resume"]);
    once(&host).with_code(5).saying(&["there is no such object", "404"]);
    assert_eq!(host.version(), "v1");
    host.run(&["deploy", &site.url("gone")]).with_code(5);
    release(&host, &site.url("gone"), &[]).with_code(5);
}

#[test]
fn a_stream_that_breaks_goes_on_where_it_broke() {
    let site = Site::start();
    let host = host_of(&site);
    let bundle = packed(&host, "v1", 4 * MIB);
    let size = bundle.len() as u64;
    site.put("app.tgz", bundle);
    release(&host, &site.url("app.tgz"), &[]).with_code(0);
    site.ranges();
    let before = site.server.body_bytes_sent();
    site.instead(1, Reply::new(503, "<html>later</html>"));
    site.then(1, |reply| reply.cut_after(MIB + 1));
    site.then(1, |reply| reply.reset_after(MIB));
    site.instead(1, Reply::new(500, "<html>oh no</html>"));
    site.then(1, |reply| reply.lost());
    once(&host).with_code(0);
    assert_eq!(host.version(), "v1");
    assert_eq!(std::fs::read(host.at("srv/app/big")).unwrap(), noise(4 * MIB, 7));
    let ranges = site.ranges();
    assert_eq!(ranges[..2], ["", ""], "{ranges:?}");
    assert!(ranges[2..].iter().all(|range| range.starts_with("bytes=")), "{ranges:?}");
    let sent = site.server.body_bytes_sent() - before;
    // A reset loses the bytes on their way.
    assert!(sent < size + 2 * MIB as u64, "{sent} bytes for {size}");

    // By hand no digest is known: only a server with the same ETag resumes.
    site.ranges();
    site.then(1, |reply| reply.cut_after(MIB));
    host.ok(&["deploy", &site.url("app.tgz")]);
    let ranges = site.ranges();
    assert!(ranges.len() == 2 && ranges[1].starts_with("bytes="), "{ranges:?}");
    site.files.lock().unwrap().ignores_ranges = true;
    site.then(1, |reply| reply.cut_after(MIB));
    host.ok(&["deploy", &site.url("app.tgz")]);
    assert_eq!(site.ranges(), ["", ""]);
    // A download that always breaks off at the same byte is given up.
    site.then(1000, |reply| reply.cut_after(MIB));
    host.run(&["deploy", &site.url("app.tgz"), "--no-rollback"]).with_code(1);
    assert!(site.ranges().len() <= 5, "bounded");
}

#[test]
fn an_agent_that_is_killed_goes_on_where_it_was() {
    let site = Site::start();
    let host = host_of(&site);
    let bundle = packed(&host, "v1", 6 * MIB);
    let size = bundle.len() as u64;
    site.put("app.tgz", bundle);
    release(&host, &site.url("app.tgz"), &[]).with_code(0);
    // It sends three MiB and then a byte now and then.
    site.then(1, |reply| reply.cut_after(3 * MIB));
    site.then(1000, |reply| reply.slowly(1, Duration::from_secs(5)));
    let store = host.store();
    let running = host.start(&["run", "--once", "--channel", store.to_str().unwrap()]);
    eventually("three MiB are here", PATIENCE, || match brought(&host) {
        bytes if bytes >= 3 * MIB as u64 => Ok(()),
        bytes => Err(format!("{bytes} bytes\n{}", running.said())),
    });
    running.kill();
    site.forget_changes();
    site.ranges();
    let before = site.server.body_bytes_sent();
    once(&host).with_code(0).saying(&["taken up again"]);
    assert_eq!(host.version(), "v1");
    let ranges = site.ranges();
    assert_eq!(ranges.len(), 1);
    let from: u64 = ranges[0].strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
    assert!(from >= 3 * MIB as u64 && site.server.body_bytes_sent() - before == size - from, "{ranges:?} of {size}");

    // Zeros after a power cut only cost a second download.
    site.put("v2.tgz", packed(&host, "v2", 6 * MIB));
    release(&host, &site.url("v2.tgz"), &[]).with_code(0);
    site.instead(1000, Reply::new(403, ""));
    once(&host).with_code(1).saying(&["may not be read", "403"]);
    site.forget_changes();
    let bundles = host.state().join("deployment-root/shop~web/bundles");
    let partial = std::fs::read_dir(bundles).unwrap().flatten().map(|entry| entry.path());
    let partial = partial.into_iter().find(|path| path.extension().is_some_and(|e| e == "partial")).unwrap();
    std::fs::write(partial, vec![0; 2 * MIB]).unwrap();
    host.ok(&["resume"]);
    site.ranges();
    once(&host).with_code(0);
    assert_eq!(host.version(), "v2");
    assert_eq!(site.ranges(), [format!("bytes={}-", 2 * MIB), String::new()]);
}

#[test]
fn redirections_are_followed_within_tls_and_not_for_ever() {
    let (site, other) = (Site::start(), Site::start());
    let host = host_of(&site);
    let both = format!("{}{}", site.server.certificate(), other.server.certificate());
    std::fs::write(host.path("site.pem"), both).unwrap();
    other.put("app.tgz", packed(&host, "v1", 100));
    host.ok(&["deploy", &site.url(&format!("latest?to={}", other.url("app.tgz")))]);
    assert_eq!(host.version(), "v1");
    other.put("app.tgz", packed(&host, "v2", 100));
    // A redirect to a path, and a chain of two.
    let chain = site.url(&format!("a?to=/b?to={}", other.url("app.tgz")));
    host.ok(&["deploy", &chain]);
    assert_eq!(host.version(), "v2");

    let plain = Server::start(|_| async { Reply::new(200, "anything") });
    let refused = host.run(&["deploy", &site.url(&format!("c?to={}/app.tgz", plain.url())), "--no-rollback"]);
    refused.with_code(1).saying(&["without TLS"]);
    assert_eq!(plain.requests(), [], "it is not even asked");
    let before = site.server.requests().len();
    host.run(&["deploy", &site.url("d?to=?to=?to=?to=?to=?to=?to=?to=/x"), "--no-rollback"]).with_code(1);
    let asked = site.server.requests().len() - before;
    assert!(asked <= 6, "{asked} requests");
    assert_eq!(host.version(), "v2");
}

#[test]
fn what_is_no_place_or_cannot_be_trusted_is_refused() {
    let site = Site::start();
    let host = host_of(&site);
    site.put("app.tgz", packed(&host, "v1", 100));
    for (what, said) in [
        ("http://example.com/app.tgz", "https://"),
        ("ftp://example.com/app.tgz", "https://"),
        ("https://me:pass@example.com/app.tgz", "password"),
        ("file://app.tgz", "file:///PATH"),
    ] {
        host.run(&["deploy", what]).with_code(2).saying(&[said]);
        release(&host, what, &[]).with_code(2).saying(&[said]);
    }
    host.configure("aws: {}\n");
    let refused = host.run(&["deploy", &site.url("app.tgz")]).with_code(1);
    assert!(refused.out.to_lowercase().contains("certificate"), "{refused:?}");
    assert_eq!(site.server.requests(), []);
}

#[test]
fn the_proxy_of_aws_is_used() {
    let proxy = Server::start(|_| async { Reply::new(502, "") });
    let host = Host::new();
    host.configure(&format!("aws: {{proxy: '{}'}}\n", proxy.url()));
    host.run(&["deploy", "https://bundles.example.invalid/app.tgz"]).with_code(1).saying(&["bundles.example.invalid"]);
    let seen = proxy.requests();
    let wanted = ("CONNECT".to_owned(), "bundles.example.invalid:443".to_owned());
    assert!(!seen.is_empty() && seen.iter().all(|request| *request == wanted), "{seen:?}");
}

#[test]
fn a_file_that_every_host_has_can_be_released() {
    let host = Host::new();
    let file = host.path("baked.tgz");
    std::fs::write(&file, packed(&host, "v1", 100)).unwrap();
    let place = format!("file://{}", file.display());
    release(&host, file.to_str().unwrap(), &[]).with_code(2).saying(&["file:///PATH"]);
    release(&host, &place, &[]).with_code(0);
    once(&host).with_code(0);
    assert_eq!(host.version(), "v1");
    host.ok(&["deploy", &place]);
    // Another file on this host is not the released one.
    release(&host, &place, &[]).with_code(0);
    std::fs::write(&file, packed(&host, "v2", 100)).unwrap();
    once(&host).with_code(6);
    std::fs::remove_file(&file).unwrap();
    host.ok(&["resume"]);
    once(&host).with_code(5).saying(&["baked.tgz"]);
    assert_eq!(host.version(), "v1");
}

#[test]
fn what_every_host_would_refuse_is_not_released() {
    let site = Site::start();
    let host = host_of(&site);
    let directory = Bundle::new(&host, "v1").app().write();
    std::fs::write(directory.join("appspec.yml"), "version: 0.0\nos: linux\nfiles:\n  - source: nothing\n").unwrap();
    let tarball = host.path("wrong.tgz");
    let packed = Command::new("tar").arg("-czf").arg(&tarball).arg("-C").arg(&directory).arg(".").status();
    assert!(packed.unwrap().success());
    site.put("wrong.tgz", std::fs::read(&tarball).unwrap());
    let address = site.url("wrong.tgz");
    release(&host, &address, &[]).with_code(1).saying(&["must not be deployed", "appspec.yml:4", "destination"]);
    assert!(!host.store().join("shop").exists(), "nothing is published");
    release(&host, &address, &["--no-validate"]).with_code(0);
    once(&host).with_code(1).saying(&["destination"]);
    // Half of an archive.
    let half = std::fs::read(&tarball).unwrap();
    site.put("half.tgz", &half[..half.len() / 2]);
    release(&host, &site.url("half.tgz"), &[]).with_code(1).saying(&["must not be deployed"]);
    site.put("page.tgz", "<html>Please log in</html>");
    release(&host, &site.url("page.tgz"), &[]).with_code(6).saying(&["is not a bundle"]);
}

/// What gathers the processor's jitter takes tens of milliseconds of CPU time in each process that makes a connection
/// (docs/development/decisions/0050-random-numbers-from-the-kernel.md). The names are in the debug program's symbols.
#[test]
fn random_numbers_come_from_the_kernel_alone() {
    let names = |text: &str| {
        let found = Command::new("grep").args(["--quiet", "--text", text, env!("CARGO_BIN_EXE_hostler")]).status();
        found.unwrap().success()
    };
    assert!(names("aws_lc_.*_RAND_bytes"), "the program has no symbols to look at");
    assert!(!names("jent_"), "built without AWS_LC_SYS_NO_JITTER_ENTROPY=1 of .cargo/config.toml");
}
