//! Answers a load balancer's health check: 200 while the host may have traffic, 503 while it must not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Conversations at a time; for one more, the oldest is ended. Prevents: idle connections that keep the load balancer's
/// own check waiting.
const MOST_CONVERSATIONS: usize = 1024;

/// The part of the descriptors that they may take. Prevents: idle connections that leave none for deployments and logs;
/// the usual soft limit is 1024.
const PART_OF_DESCRIPTORS: u64 = 4;

/// How long one conversation may take; a load balancer waits for 2 to 10 seconds by default. Prevents: connections that
/// are held open.
const PATIENCE: Duration = Duration::from_secs(5);

/// The listener's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether traffic may be sent here.
    pub healthy: bool,
    /// The reason, a line of text.
    pub text: String,
}

/// Opens the address.
///
/// # Errors
/// The address is taken or does not belong to this host.
pub async fn open(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers every request alike, whatever its path, until it is dropped. A silent connection costs a descriptor and no
/// buffer, and never keeps another one waiting.
pub async fn serve(listener: Arc<TcpListener>, answer: watch::Receiver<Answer>) {
    serve_at_most(listener, answer, most_conversations(), PATIENCE).await;
}

fn most_conversations() -> usize {
    let part = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft / PART_OF_DESCRIPTORS);
    let part = part.ok().and_then(|part| usize::try_from(part).ok());
    part.map_or(MOST_CONVERSATIONS, |part| part.clamp(1, MOST_CONVERSATIONS))
}

async fn serve_at_most(listener: Arc<TcpListener>, answer: watch::Receiver<Answer>, most: usize, patience: Duration) {
    // In the order in which they came. Dropping them ends them.
    let mut going_on: VecDeque<AbortOnDrop> = VecDeque::new();
    let places = Arc::new(Semaphore::new(most));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if going_on.len() >= most {
                    going_on.retain(|conversation| !conversation.0.is_finished());
                }
                if places.available_permits() == 0 {
                    going_on.pop_front();
                }
                // A conversation that was ended keeps its descriptor until it is dropped.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let answer = answer.clone();
                let conversation = async move {
                    // If a conversation breaks off or takes too long, the load balancer asks again.
                    let _ = timeout(patience, converse(stream, answer)).await;
                    drop(place);
                };
                going_on.push_back(AbortOnDrop(tokio::spawn(conversation).abort_handle()));
            }
            Err(error) => {
                log::warn!(error:%; "the health check's listener took no connection: {error}");
                // Usually out of descriptors: the older half gives its own back.
                going_on.drain(..going_on.len().div_ceil(2));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A conversation that ends when this is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn converse(stream: TcpStream, answer: watch::Receiver<Answer>) {
    // Buffers are made for a connection that speaks.
    if stream.readable().await.is_err() {
        return;
    }
    let service = service_fn(move |_| {
        let now = answer.borrow().clone();
        async move { Ok::<_, Infallible>(response(&now)) }
    });
    let conversation =
        http1::Builder::new().keep_alive(false).max_buf_size(16 << 10).serve_connection(TokioIo::new(stream), service);
    // A load balancer that hangs up early has its answer.
    let _ = conversation.await;
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let status = if answer.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", answer.text))));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn connections_that_say_nothing_or_never_end_keep_no_check_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(many_others_and_a_check());
    }

    async fn many_others_and_a_check() {
        let listener = open("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, answer) = watch::channel(Answer { healthy: true, text: "healthy".to_owned() });
        // None of them ends by its own time.
        let serving = tokio::spawn(serve_at_most(Arc::new(listener), answer, 16, FOR_EVER));
        let mut others = Vec::new();
        for number in 0..100 {
            let mut other = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                other.write_all(b"GET / HT").await.unwrap();
            }
            others.push(other);
        }
        for _ in 0..40 {
            let answer = timeout(Duration::from_secs(60), ask(address)).await.expect("a check waits for the others");
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("healthy\n"), "{answer}");
        }
        // The oldest had to go.
        let mut end = Vec::new();
        let ended = timeout(Duration::from_secs(60), others[1].read_to_end(&mut end)).await;
        assert!(ended.is_ok() && end.is_empty(), "{ended:?}");
        serving.abort();
        // With the listener its conversations end.
        assert!(serving.await.unwrap_err().is_cancelled());
        let last = timeout(Duration::from_secs(60), others[99].read_to_end(&mut end)).await;
        assert!(last.is_ok(), "{last:?}");
    }
}
