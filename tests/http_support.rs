//! The test server itself: if it only pretended a fault, every client would pass.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::http_server::{Reply, Request, Server};

fn exchange(server: &Server, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map(|_| String::from_utf8_lossy(&answer).into_owned())
}

async fn faults(request: Request) -> Reply {
    let reply = Reply::new(200, "0123456789");
    match request.path() {
        "/cut" => reply.cut_after(4),
        "/reset" => reply.reset_after(4),
        "/lost" => reply.lost(),
        "/lie" => reply.claims_length(11),
        "/slow" => reply.slowly(3, Duration::from_millis(1)),
        _ => Reply::new(200, request.body),
    }
}

#[test]
fn the_server_breaks_its_answers_as_told() {
    let server = Server::start(faults);
    let get = |path: &str| exchange(&server, &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
    let cut = get("/cut").unwrap();
    assert!(cut.contains("Content-Length: 10\r\n") && cut.ends_with("\r\n\r\n0123"), "{cut}");
    assert_eq!(get("/reset").unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(get("/lost").unwrap(), "");
    assert!(get("/lie").unwrap().contains("Content-Length: 11\r\n"));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn the_server_puts_chunks_together_and_takes_one_request_after_another() {
    let server = Server::start(faults);
    let two = "PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
               GET /cut HTTP/1.1\r\n\r\n";
    let answers = exchange(&server, two).unwrap();
    assert!(answers.contains("\r\n\r\nabcdeHTTP/1.1 200 "), "{answers}");
    assert_eq!(server.connections(), 1);
    assert_eq!(server.body_bytes_sent(), 9);
}

#[test]
fn over_tls_only_its_own_certificate_vouches_for_the_server() {
    let server = Server::start_tls(|_| async { Reply::new(204, "").header("x-kind", "tls").after(Duration::ZERO) });
    assert!(server.url().starts_with("https://127.0.0.1:"));
    let answer = tls_exchange(&server, Some(server.certificate())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("x-kind: tls\r\n"), "{answer}");
    assert!(tls_exchange(&server, None).unwrap_err().to_string().contains("UnknownIssuer"));
}

fn tls_exchange(server: &Server, trusted: Option<&str>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = trusted {
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address()).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    })
}
