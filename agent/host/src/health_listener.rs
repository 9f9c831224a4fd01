//! Answers a load balancer's health check: 200 while the host may have traffic, 503 while it must not.

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
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Conversations at a time. Prevents: connections that nobody uses taking all descriptors.
const MOST_CONVERSATIONS: usize = 64;

/// How long one conversation may take. Prevents: the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether traffic may be sent here.
    pub healthy: bool,
    /// Why, a line of text.
    pub text: String,
}

/// Opens the address.
///
/// # Errors
/// When it is taken or not this host's.
pub async fn open(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers every request alike, whatever its path, until it is dropped.
pub async fn serve(listener: Arc<TcpListener>, answer: watch::Receiver<Answer>) {
    let places = Arc::new(Semaphore::new(MOST_CONVERSATIONS));
    loop {
        // Taken first: who comes when all places are taken waits in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |_| {
                        let now = answer.borrow().clone();
                        async move { Ok::<_, Infallible>(response(&now)) }
                    });
                    let conversation = http1::Builder::new()
                        .keep_alive(false)
                        .max_buf_size(16 << 10)
                        .serve_connection(TokioIo::new(stream), service);
                    // One that breaks off or takes too long asks again by itself.
                    let _ = timeout(PATIENCE, conversation).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!(error:%; "the health check's listener took no connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let status = if answer.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", answer.text))));
    *response.status_mut() = status;
    response
}
