//! moto: AWS's services by other authors, as a second opinion beside our own servers. The test command installs it
//! (`HOSTLER_MOTO_SERVER` names it); without it the tests that need it are skipped, except where every test has to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::skip;

/// The owner of the buckets: moto refuses other users' writes to them.
const OWNER: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0\r\n";

/// A separate server for one test, which ends with it.
pub struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    /// Starts it on a free port, or prints why the test is skipped.
    ///
    /// # Panics
    /// When it is missing where every test has to run, or does not come up.
    pub fn start_or_skip() -> Option<Self> {
        let program = std::env::var("HOSTLER_MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_owned());
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                skip(format_args!("no moto_server ({program}: {error}); tests/run installs it"));
                return None;
            }
        };
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "moto_server ended:\n{log}");
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.split_whitespace().next().unwrap().to_owned();
            }
            log.push_str(&line);
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Some(Self { child, address })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A plain request with a signature that moto does not check; returns the whole answer.
    ///
    /// # Panics
    /// When the answer is not good.
    pub fn request(&self, method: &str, target: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n{OWNER}\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split_whitespace().nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {target}: {answer}");
        answer
    }

    /// An operation of a service with a JSON protocol, or moto's refusal of it.
    ///
    /// # Panics
    /// When the answer is neither.
    pub fn json(&self, service: &str, target: &str, input: &serde_json::Value) -> Result<serde_json::Value, String> {
        let body = input.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: {target}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        match head.split_whitespace().nth(1).unwrap() {
            "200" => Ok(serde_json::from_str(body).unwrap()),
            "400" => Err(body.to_owned()),
            _ => panic!("{target}: {answer}"),
        }
    }

    /// An operation of a service with the Query protocol, or moto's refusal of it.
    ///
    /// # Panics
    /// When the answer is neither.
    pub fn query(&self, service: &str, form: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            self.address,
            form.len()
        );
        stream.write_all((head + form).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let good = head.split_whitespace().nth(1).unwrap() == "200";
        if good { Ok(body.to_owned()) } else { Err(body.to_owned()) }
    }

    /// Makes a bucket, optionally with versions.
    pub fn make_bucket(&self, name: &str, versions: bool) {
        self.request("PUT", &format!("/{name}"), b"");
        if versions {
            let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            self.request("PUT", &format!("/{name}?versioning"), on);
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
