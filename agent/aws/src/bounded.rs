//! Bounds for answers through the SDK, which reads a whole answer before it looks at it, from any sender.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Most bytes of an answer that is held in memory. The longest answer from AWS, except for [`WITH_INSTANCES`], is a
/// list of a thousand keys. Prevents: a server whose answer has no end.
const MOST_BYTES: u64 = 1 << 20;
/// The request whose answer has no pages within a group: the answer names every instance, with some 700 bytes for each.
const WITH_INSTANCES: &[u8] = b"Action=DescribeAutoScalingGroups&";
/// The bound for that answer: ten thousand instances, the most that the agent keeps.
const MOST_BYTES_WITH_INSTANCES: u64 = 8 << 20;
/// How long such an answer may take once it has begun. Prevents: a server that sends a byte now and then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which answers are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// All of them.
    All,
    /// Only refusals. All other answers are streams, whose readers have bounds of their own.
    Refusals,
}

/// A connector with bounded answers: it treats a longer or slower answer as a broken connection.
pub(crate) fn bounded(connector: SharedHttpConnector, answers: Answers) -> SharedHttpConnector {
    SharedHttpConnector::new(Bounded { connector, answers, most: MOST_BYTES, patience: PATIENCE })
}

#[derive(Debug)]
struct Bounded {
    connector: SharedHttpConnector,
    answers: Answers,
    most: u64,
    patience: Duration,
}

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let with_instances = request.body().bytes().is_some_and(|body| body.starts_with(WITH_INSTANCES));
        let most = if with_instances { self.most.max(MOST_BYTES_WITH_INSTANCES) } else { self.most };
        let (answer, answers, patience) = (self.connector.call(request), self.answers, self.patience);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            let streams = answers == Answers::Refusals && answer.status().is_success();
            Ok(if streams { answer } else { answer.map(|body| bound(body, most, patience)) })
        })
    }
}

fn bound(body: SdkBody, most: u64, patience: Duration) -> SdkBody {
    SdkBody::from_body_1_x(BoundedBody { body, left: most, most, deadline: Box::pin(tokio::time::sleep(patience)) })
}

/// An answer that has no end, or takes too long.
#[derive(Debug, thiserror::Error)]
enum Unbounded {
    #[error("the answer has more than {0} bytes; is this an AWS endpoint?")]
    Long(u64),
    #[error("the answer comes too slowly: it did not end in {} seconds", PATIENCE.as_secs())]
    Slow,
}

struct BoundedBody {
    body: SdkBody,
    left: u64,
    most: u64,
    deadline: Pin<Box<Sleep>>,
}

impl Body for BoundedBody {
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Pending => {
                return self.deadline.as_mut().poll(context).map(|()| Some(Err(Unbounded::Slow.into())));
            }
            ended => return ended,
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => Err(Unbounded::Long(self.most).into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    use aws_smithy_http_client::Connector;
    use aws_smithy_types::byte_stream::ByteStream;

    use super::*;

    /// A server that answers each connection with this head and then pieces of a kibibyte, so many and with such pauses
    /// between them. It ends with the connection.
    fn server(head: &'static str, pieces: usize, pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(head.as_bytes());
                for _ in 0..pieces {
                    if stream.write_all(&[b'x'; 1024]).is_err() {
                        break;
                    }
                    if !pause.is_zero() {
                        std::thread::park_timeout(pause);
                    }
                }
            }
        });
        address
    }

    fn ask(address: SocketAddr, answers: Answers, patience: Duration) -> Result<usize, String> {
        ask_with(address, answers, patience, "")
    }

    fn ask_with(
        address: SocketAddr,
        answers: Answers,
        patience: Duration,
        question: &'static str,
    ) -> Result<usize, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connector = SharedHttpConnector::new(Connector::builder().build_http());
            let connector = Bounded { connector, answers, most: MOST_BYTES, patience };
            let mut request = HttpRequest::get(format!("http://{address}/")).unwrap();
            *request.body_mut() = SdkBody::from(question);
            let answer = connector.call(request).await.map_err(|error| format!("{error:?}"))?;
            let bytes = ByteStream::new(answer.into_body()).collect().await;
            bytes.map(|bytes| bytes.into_bytes().len()).map_err(|error| format!("{error:?}"))
        })
    }

    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn an_answer_without_end_is_a_broken_connection() {
        for (head, answers) in [(FORBIDDEN, Answers::All), (FORBIDDEN, Answers::Refusals), (OK, Answers::All)] {
            let error = ask(server(head, usize::MAX, Duration::ZERO), answers, LONG).unwrap_err();
            assert!(error.contains("Long(1048576)"), "{head}: {error}");
        }
    }

    /// As of a group with several thousand instances.
    #[test]
    fn a_group_with_many_instances_is_told_whole_and_no_endless_one() {
        let asked = |action, pieces| ask_with(server(OK, pieces, Duration::ZERO), Answers::All, LONG, action);
        let groups = "Action=DescribeAutoScalingGroups&Version=2011-01-01&AutoScalingGroupNames.member.1=web";
        assert_eq!(asked(groups, 4096), Ok(4 << 20));
        assert!(asked(groups, usize::MAX).unwrap_err().contains("Long(8388608)"));
        assert!(asked("Action=DescribeLifecycleHooks&Version=2011-01-01", 4096).unwrap_err().contains("Long(1048576)"));
    }

    #[test]
    fn an_answer_that_drips_is_a_broken_connection() {
        let address = server(FORBIDDEN, usize::MAX, LONG);
        let error = ask(address, Answers::Refusals, Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("Slow"), "{error}");
    }

    #[test]
    fn what_is_within_the_bounds_or_streamed_comes_whole() {
        assert_eq!(ask(server(FORBIDDEN, 1024, Duration::ZERO), Answers::All, LONG), Ok(1 << 20));
        assert_eq!(ask(server(OK, 3000, Duration::ZERO), Answers::Refusals, LONG), Ok(3000 << 10));
    }
}
