//! An HTTP/1.1 server on loopback that can break its answers in every way that a network can.
//!
//! Requests are parsed by `httparse`. Answers are written by hand, because HTTP libraries do not allow a body shorter
//! than its Content-Length, a connection reset at a given byte, or an answer that never comes.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::skip;

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// A client's request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Headers with lower-case names; repeated ones are joined by a comma.
    pub headers: BTreeMap<String, String>,
    /// The whole body; chunks of the transfer encoding are put together.
    pub body: Bytes,
}

impl Request {
    /// The path as sent, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query as sent, without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A header's value; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    Cut(usize),
    Reset(usize),
    Lost,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    delay: Duration,
    pace: Option<(usize, Duration)>,
    claimed: Option<u64>,
    ending: Ending,
}

impl Reply {
    /// An answer with a status and a body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
            pace: None,
            claimed: None,
            ending: Ending::Whole,
        }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// After a delay.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The body in pieces of this many bytes, with a pause before each.
    pub fn slowly(mut self, bytes: usize, pause: Duration) -> Self {
        self.pace = Some((bytes.max(1), pause));
        self
    }

    /// With a Content-Length that differs from the body's length (the answer to a HEAD, or a lie).
    pub fn claims_length(mut self, bytes: u64) -> Self {
        self.claimed = Some(bytes);
        self
    }

    /// The connection is closed after this many bytes of the body.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.ending = Ending::Cut(bytes);
        self
    }

    /// The connection is reset after this many bytes of the body.
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.ending = Ending::Reset(bytes);
        self
    }

    /// The connection is closed without an answer: the request may have been carried out.
    pub fn lost(mut self) -> Self {
        self.ending = Ending::Lost;
        self
    }
}

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = dyn Fn(Request) -> Answer + Send + Sync;

/// The server's counts, for tests.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<(String, String)>,
    connections: usize,
    body_bytes_sent: u64,
}

/// A running server, which ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    certificate: Option<String>,
    seen: Arc<Mutex<Seen>>,
    // Dropped last: ends every connection.
    _runtime: Runtime,
}

/// Ends its tasks in the background, so that a server can be dropped inside another runtime.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// Serves on a free port of loopback. The handler is called for the requests of a connection in sequence, and for
    /// several connections at once.
    pub fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::launch(handler, None, loopback())
    }

    /// The same on the loopback of IPv6; `None` with a printed reason if there is none.
    pub fn start_ipv6_or_skip<H, F>(handler: H) -> Option<Self>
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let bound = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
        let listener = bound.inspect_err(|error| skip(format_args!("no IPv6 here: {error}"))).ok()?;
        Some(Self::launch(handler, None, listener))
    }

    /// The same over TLS for `127.0.0.1` and `localhost`, with a certificate that only [`Server::certificate`] vouches
    /// for.
    pub fn start_tls<H, F>(handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::start_tls_on(loopback(), handler)
    }

    /// The same on a listener, which may be another network's.
    pub fn start_tls_on<H, F>(listener: std::net::TcpListener, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::launch(handler, Some(Identity::new()), listener)
    }

    fn launch<H, F>(handler: H, identity: Option<Identity>, listener: std::net::TcpListener) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let handler: Arc<Handler> = Arc::new(move |request| -> Answer { Box::pin(handler(request)) });
        let (certificate, acceptor) = identity.map_or((None, None), |i| (Some(i.certificate), Some(i.acceptor)));
        runtime.spawn(accept(listener, acceptor, handler, Arc::clone(&seen)));
        Self { address, certificate, seen, _runtime: Runtime(Some(runtime)) }
    }

    /// `http://127.0.0.1:PORT`, or `https://` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate as PEM, for a client's bundle of certificate authorities.
    ///
    /// # Panics
    /// Without TLS.
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("a server with TLS")
    }

    /// Method and target of every request so far.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Connections opened so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Bytes of bodies sent so far.
    pub fn body_bytes_sent(&self) -> u64 {
        self.seen.lock().unwrap().body_bytes_sent
    }
}

/// A free port of loopback.
fn loopback() -> std::net::TcpListener {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

struct Identity {
    certificate: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    fn new() -> Self {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self { certificate: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, handler: Arc<Handler>, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().unwrap().connections += 1;
        let (handler, seen, tls) = (Arc::clone(&handler), Arc::clone(&seen), tls.clone());
        tokio::spawn(async move {
            // The client has to notice a broken connection.
            let _ = match tls {
                None => serve(stream, &handler, &seen).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, &handler, &seen).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

/// The layer below the bytes: needed to reset a connection.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve<S: Wire>(mut stream: S, handler: &Arc<Handler>, seen: &Arc<Mutex<Seen>>) -> std::io::Result<()> {
    stream.socket().set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let head = request.method == "HEAD";
        seen.lock().unwrap().requests.push((request.method.clone(), request.target.clone()));
        let reply = handler(request).await;
        tokio::time::sleep(reply.delay).await;
        if !write_reply(&mut stream, reply, head, seen).await? {
            return Ok(());
        }
    }
    Ok(())
}

async fn read_more<S: Wire>(stream: &mut S, buffer: &mut BytesMut) -> std::io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The next request, or `None` when the client is done.
async fn read_request<S: Wire>(stream: &mut S, buffer: &mut BytesMut) -> std::io::Result<Option<Request>> {
    let mut request = loop {
        if let Some((request, length)) = parse_head(buffer)? {
            let _ = buffer.split_to(length);
            break request;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    if request.header("expect").eq_ignore_ascii_case("100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    request.body = if request.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        read_chunks(stream, buffer).await?
    } else {
        let length = request.header("content-length").parse().unwrap_or(0);
        while buffer.len() < length {
            read_more(stream, buffer).await?;
        }
        buffer.split_to(length).freeze()
    };
    Ok(Some(request))
}

fn parse_head(buffer: &[u8]) -> std::io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(buffer).map_err(std::io::Error::other)? else {
        return if buffer.len() > HEAD_BYTES { Err(std::io::Error::other("the head is too long")) } else { Ok(None) };
    };
    let mut headers = BTreeMap::<String, String>::new();
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        let known = headers.entry(header.name.to_ascii_lowercase());
        known.and_modify(|v| *v = format!("{v},{value}")).or_insert(value);
    }
    let (method, target) = (parsed.method.unwrap_or("").to_owned(), parsed.path.unwrap_or("").to_owned());
    Ok(Some((Request { method, target, headers, body: Bytes::new() }, length)))
}

async fn read_chunks<S: Wire>(stream: &mut S, buffer: &mut BytesMut) -> std::io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let (start, size) = loop {
            match httparse::parse_chunk_size(buffer).map_err(|_| std::io::Error::other("not a chunk"))? {
                httparse::Status::Complete((start, size)) => break (start, usize::try_from(size).unwrap()),
                httparse::Status::Partial => read_more(stream, buffer).await?,
            }
        };
        while buffer.len() < start + size + 2 {
            read_more(stream, buffer).await?;
        }
        let chunk = buffer.split_to(start + size + 2);
        body.extend_from_slice(&chunk[start..start + size]);
        if size == 0 {
            return Ok(body.freeze());
        }
    }
}

/// Writes an answer; returns whether the connection can be used again.
async fn write_reply<S: Wire>(
    stream: &mut S,
    reply: Reply,
    head: bool,
    seen: &Arc<Mutex<Seen>>,
) -> std::io::Result<bool> {
    let (body, whole) = match reply.ending {
        Ending::Lost => return Ok(false),
        Ending::Whole => (reply.body.clone(), reply.claimed.is_none_or(|n| n == reply.body.len() as u64)),
        Ending::Cut(bytes) | Ending::Reset(bytes) => (reply.body.slice(..bytes.min(reply.body.len())), false),
    };
    let bodyless = head || matches!(reply.status, 204 | 304);
    stream.write_all(head_of(&reply).as_bytes()).await?;
    if !bodyless {
        let (size, pause) = reply.pace.unwrap_or((256 * 1024, Duration::ZERO));
        for piece in body.chunks(size) {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                stream.flush().await?;
            }
            stream.write_all(piece).await?;
            seen.lock().unwrap().body_bytes_sent += piece.len() as u64;
        }
    }
    stream.flush().await?;
    if matches!(reply.ending, Ending::Reset(_)) {
        stream.socket().set_zero_linger()?;
    }
    Ok(bodyless || whole)
}

fn head_of(reply: &Reply) -> String {
    let mut text = format!("HTTP/1.1 {} {}\r\n", reply.status, "Status");
    let named = |name: &str| reply.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !named("date") {
        let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
        text.push_str(&format!("Date: {}\r\n", now.unwrap()));
    }
    if !named("content-length") && reply.status != 204 {
        let length = reply.claimed.unwrap_or(reply.body.len() as u64);
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}
