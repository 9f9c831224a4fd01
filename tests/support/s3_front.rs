//! One bucket of S3 in memory, whose answers can be made to fail. It honours conditions as S3 does, checks every
//! signature, and counts the bytes that it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use hostler_core::ids::Sha256Digest;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::http_server::{Reply, Request, Server};
use super::sigv4;

/// The bucket's name.
pub const BUCKET: &str = "own-bucket";
/// The access key that it accepts.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The action of a fault on a request.
type Act = Box<dyn FnMut(&mut Objects, &Request) -> Reply + Send>;

struct Fault {
    wanted: Box<dyn Fn(&Request) -> bool + Send>,
    times: usize,
    act: Act,
}

/// The objects by their keys.
#[derive(Debug, Default)]
pub struct Objects {
    objects: BTreeMap<String, Vec<u8>>,
    /// Answer 200 to every write, as some servers do.
    pub ignores_conditions: bool,
    /// The region of the bucket; requests for other regions are redirected.
    pub region: Option<String>,
    /// Key and first byte of every answered read.
    pub reads: Vec<(String, u64)>,
    /// Key and status of every write.
    pub writes: Vec<(String, u16)>,
}

/// Requests that wait for the test.
struct Held {
    wanted: Box<dyn Fn(&Request) -> bool + Send>,
    gate: Arc<Semaphore>,
}

/// Releases the waiting requests, and all later ones.
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// From now on no request waits.
    pub fn open(self) {
        self.0.close();
    }
}

/// A running server.
pub struct Front {
    server: Server,
    objects: Arc<Mutex<Objects>>,
    faults: Arc<Mutex<Vec<Fault>>>,
    held: Arc<Mutex<Vec<Held>>>,
}

impl Front {
    /// A server over plain HTTP.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// A server over TLS.
    pub fn start_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let objects = Arc::new(Mutex::new(Objects::default()));
        let faults = Arc::new(Mutex::new(Vec::<Fault>::new()));
        let held = Arc::new(Mutex::new(Vec::<Held>::new()));
        let (known, broken, holding) = (Arc::clone(&objects), Arc::clone(&faults), Arc::clone(&held));
        let handler = move |request: Request| {
            let is_held = holding.lock().unwrap().iter().find(|held| (held.wanted)(&request)).map(|h| h.gate.clone());
            let (known, broken) = (Arc::clone(&known), Arc::clone(&broken));
            async move {
                if let Some(gate) = is_held {
                    // Closing the semaphore opens the gate.
                    let _ = gate.acquire().await;
                }
                answer(&known, &broken, &request)
            }
        };
        let server = if tls { Server::start_tls(handler) } else { Server::start(handler) };
        Self { server, objects, faults, held }
    }

    /// The server below.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The current objects.
    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    /// Stores an object.
    pub fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.objects().put(key, bytes.into());
    }

    /// An object's bytes.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.objects().objects.get(key).cloned()
    }

    /// Deletes an object.
    pub fn delete(&self, key: &str) {
        self.objects().objects.remove(key);
    }

    /// STS at the same address, as behind a custom endpoint: it reports `user` as the caller.
    pub fn with_sts(&self, user: &str) {
        let is_sts = |request: &Request| request.method == "POST" && request.path() == "/";
        let answer = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:sts::123456789012:assumed-role/web/i-0123456789abcdef0</Arn><UserId>{user}</UserId>\
             <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        self.act(usize::MAX, is_sts, move |_, request| {
            let asked = String::from_utf8_lossy(&request.body).into_owned();
            if asked == "Action=GetCallerIdentity&Version=2011-06-15" {
                Reply::new(200, answer.clone())
            } else {
                error(400, "InvalidAction", &asked)
            }
        });
    }

    /// From now on all requests succeed.
    pub fn forget_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Makes matching requests wait for the gate.
    pub fn hold(&self, wanted: impl Fn(&Request) -> bool + Send + 'static) -> Gate {
        let gate = Arc::new(Semaphore::new(0));
        self.held.lock().unwrap().push(Held { wanted: Box::new(wanted), gate: Arc::clone(&gate) });
        Gate(gate)
    }

    /// Answers the next `times` matching requests with `reply`.
    pub fn instead(&self, times: usize, wanted: impl Fn(&Request) -> bool + Send + 'static, reply: Reply) {
        self.act(times, wanted, move |_, _| reply.clone());
    }

    /// Carries out the next `times` matching requests, and changes their answers.
    pub fn then(
        &self,
        times: usize,
        wanted: impl Fn(&Request) -> bool + Send + 'static,
        mut change: impl FnMut(Reply) -> Reply + Send + 'static,
    ) {
        self.act(times, wanted, move |objects, request| change(objects.serve(request)));
    }

    /// Calls `act` for the next `times` matching requests.
    pub fn act(
        &self,
        times: usize,
        wanted: impl Fn(&Request) -> bool + Send + 'static,
        act: impl FnMut(&mut Objects, &Request) -> Reply + Send + 'static,
    ) {
        self.faults.lock().unwrap().push(Fault { wanted: Box::new(wanted), times, act: Box::new(act) });
    }
}

fn answer(objects: &Mutex<Objects>, faults: &Mutex<Vec<Fault>>, request: &Request) -> Reply {
    let mut objects = objects.lock().unwrap();
    let signed = match sigv4::verify(request, SECRET_KEY, Timestamp::now()) {
        Ok(signed) => signed,
        Err(problem) => return error(403, "SignatureDoesNotMatch", &problem),
    };
    if let Some(region) = objects.region.clone().filter(|region| *region != signed.region) {
        return error(301, "PermanentRedirect", "The bucket is in another region.")
            .header("x-amz-bucket-region", region);
    }
    let mut faults = faults.lock().unwrap();
    if let Some(fault) = faults.iter_mut().find(|fault| fault.times > 0 && (fault.wanted)(request)) {
        fault.times -= 1;
        return (fault.act)(&mut objects, request);
    }
    objects.serve(request)
}

/// An error in S3's format.
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Reply::new(status, body)
        .header("content-type", "application/xml")
        .header("x-amz-request-id", "REQUESTID")
        .header("x-amz-id-2", "EXTENDEDID")
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Sha256Digest::of(bytes).hex()[..32])
}

impl Objects {
    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Stores an object.
    pub fn put(&mut self, key: &str, bytes: Vec<u8>) {
        self.objects.insert(key.to_owned(), bytes);
    }

    /// Serves a request as S3 does.
    pub fn serve(&mut self, request: &Request) -> Reply {
        let Some(key) = request.path().strip_prefix(&format!("/{BUCKET}/")).map(str::to_owned) else {
            return error(404, "NoSuchBucket", "The specified bucket does not exist");
        };
        match request.method.as_str() {
            "GET" if key.is_empty() => self.list(request),
            "GET" | "HEAD" => self.read(&key, request),
            "PUT" => {
                let (status, reply) = self.write(&key, request);
                self.writes.push((key, status));
                reply
            }
            "DELETE" => {
                self.objects.remove(&key);
                Reply::new(204, "")
            }
            _ => error(405, "MethodNotAllowed", "not in this server"),
        }
    }

    fn read(&mut self, key: &str, request: &Request) -> Reply {
        let Some(bytes) = self.objects.get(key) else { return error(404, "NoSuchKey", "The key does not exist.") };
        let tag = etag(bytes);
        if request.header("if-none-match") == tag {
            return Reply::new(304, "").header("etag", tag);
        }
        if !request.header("if-match").is_empty() && request.header("if-match") != tag {
            return error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold");
        }
        let size = bytes.len();
        let wanted = request.header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let (status, from, to) = match wanted {
            Some((from, to)) => (206, from.parse().unwrap(), to.parse::<usize>().unwrap().min(size - 1) + 1),
            None => (200, 0, size),
        };
        let body = bytes[from..to].to_vec();
        let reply = if request.method == "HEAD" {
            Reply::new(200, "").claims_length(size as u64)
        } else {
            self.reads.push((key.to_owned(), from as u64));
            Reply::new(status, body).header("content-range", format!("bytes {from}-{}/{size}", to.max(1) - 1))
        };
        reply.header("etag", tag)
    }

    fn write(&mut self, key: &str, request: &Request) -> (u16, Reply) {
        let now = self.objects.get(key).map(|bytes| etag(bytes));
        let (create, swap) = (request.header("if-none-match") == "*", request.header("if-match"));
        if !self.ignores_conditions {
            if create && now.is_some() || !swap.is_empty() && now.as_deref().is_some_and(|now| now != swap) {
                return (412, error(412, "PreconditionFailed", "At least one of the pre-conditions did not hold"));
            }
            if !swap.is_empty() && now.is_none() {
                return (404, error(404, "NoSuchKey", "The key does not exist."));
            }
        }
        self.objects.insert(key.to_owned(), request.body.to_vec());
        (200, Reply::new(200, "").header("etag", etag(&request.body)))
    }

    fn list(&self, request: &Request) -> Reply {
        let prefix = request.query().split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or("");
        let prefix = prefix.replace("%2F", "/");
        let keys = self.objects.keys().filter(|key| key.starts_with(&prefix));
        let contents: String = keys.map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
        Reply::new(200, format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"))
    }
}
