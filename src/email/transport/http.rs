//! One request to a provider's HTTP API, and what its outcome says about the message in it.
//!
//! As with SMTP, a failure means another thing before and after the last byte has left: before, the provider
//! cannot have taken the message; after, nobody knows.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use jiff::Timestamp;
use reqwest::{Client, Response, redirect, retry};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use url::Url;

use super::{SendError, TemporaryScope};

/// How long connecting may take, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the provider may take to read a request, connecting included.
const SEND_TIMEOUT: Duration = Duration::from_secs(40);
/// How long an idle connection is used again. A provider that closes it at the very moment of the next
/// request makes that message uncertain, so this is far below what providers allow.
const MAX_IDLE_TIME: Duration = Duration::from_secs(10);
/// Most idle connections that are kept.
const MAX_IDLE: usize = 4;
/// Most of an answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Most of an answer that errors quote, in characters.
const MAX_WORDS: usize = 300;
/// A piece of a request, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// Longest wait that a provider can ask for. More is a mistake, and the letter is of no use then.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A provider's HTTP API.
pub(super) struct Api {
    client: Client,
    url: Url,
    answer_timeout: Duration,
}

/// What a provider answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The beginning of the body.
    pub(super) body: Bytes,
}

impl Api {
    /// Prepares requests to one address below `base`; nothing is connected yet. Proxies of the environment
    /// are not used and redirects are not followed: both would show letters to others.
    pub(super) fn new(base: &str, path: &str, answer_timeout: Duration) -> anyhow::Result<Self> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A lost connection then makes one message uncertain, and not all that are under way.
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .pool_idle_timeout(MAX_IDLE_TIME)
            .pool_max_idle_per_host(MAX_IDLE)
            .build()
            .context("the HTTP client of the mail provider cannot be set up")?;
        Ok(Self { client, url: url.parse().context("the address of the mail provider")?, answer_timeout })
    }

    /// Where requests go.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Posts a body that holds a message. An error is of the connection: any answer, of whatever status, is
    /// an [`Answer`].
    pub(super) async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, SendError> {
        let (gone, mut is_gone) = watch::channel(false);
        let whole = is_gone.clone();
        let body = reqwest::Body::wrap(Watched { rest: body.into(), gone });
        let mut sending = pin!(self.client.post(self.url.clone()).headers(headers).body(body).send());
        let last_byte = async {
            // The sender goes away with a request that failed, which the request itself tells.
            if is_gone.wait_for(|gone| *gone).await.is_err() {
                pending::<()>().await;
            }
        };
        let early = tokio::select! {
            answer = &mut sending => Some(answer),
            () = last_byte => None,
            () = sleep(SEND_TIMEOUT) => None,
        };
        let answer = match early {
            Some(answer) => answer,
            None if *whole.borrow() => {
                let limit = self.answer_timeout.as_secs_f32();
                let late = |_| SendError::Uncertain { why: format!("no answer in {limit} s") };
                timeout(self.answer_timeout, sending).await.map_err(late)?
            }
            None => {
                let limit = SEND_TIMEOUT.as_secs();
                return Err(temporary(format!("the request was not read in {limit} s")));
            }
        };
        let response = answer.map_err(|error| lost(*whole.borrow(), &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        // The status decides. A body that is late or cut off only takes words away from an error.
        let body = timeout(self.answer_timeout, beginning(response)).await.unwrap_or_default();
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    /// The error of an answer that is no success, by its status alone. `words` are the provider's.
    pub(super) fn error(&self, words: &str) -> SendError {
        let status = self.status.as_u16();
        let why = format!("{status} {}", shortened(words));
        match status {
            400 | 413 | 422 => SendError::Refused { why, enhanced: None },
            // A gateway did not wait for the server behind it, which may have taken the message.
            504 => SendError::Uncertain { why },
            // Redirects are not followed, so that the address in the options is wrong.
            300..=399 | 401..=405 => SendError::Misconfigured { why },
            // These are about the provider or the rate of requests, and not about one letter.
            _ => SendError::Temporary {
                why,
                retry_after: retry_after(&self.headers, Timestamp::now()),
                scope: TemporaryScope::Server,
            },
        }
    }

    /// The body as text, for errors.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn temporary(why: String) -> SendError {
    SendError::Temporary { why, retry_after: None, scope: TemporaryScope::Server }
}

/// The error of a connection that failed, before or after the last byte of the request has left.
fn lost(is_gone: bool, error: &reqwest::Error) -> SendError {
    // The library's own text names only the step; the causes are behind it.
    let mut why = "the connection failed".to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    if is_gone { SendError::Uncertain { why } } else { temporary(why) }
}

/// The beginning of an answer's body.
async fn beginning(mut response: Response) -> Bytes {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    body.into()
}

/// A provider's words on one line, and not too many.
fn shortened(words: &str) -> String {
    let words: String = words.chars().take(MAX_WORDS).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The wait that an answer asks for, in seconds or until a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The body of a request. It tells when its last piece was taken to be written.
struct Watched {
    rest: Bytes,
    gone: watch::Sender<bool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        if self.rest.is_empty() {
            self.gone.send_replace(true);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Act, Stub, api};
    use super::*;

    async fn outcome(act: Act) -> Result<Answer, SendError> {
        let stub = Stub::start(move |_| act.clone()).await;
        api(&stub).post(HeaderMap::new(), b"{}".to_vec()).await
    }

    #[tokio::test]
    async fn a_request_is_whole_and_has_its_length() {
        let stub = Stub::start(|_| Act::answer(200, "yes")).await;
        let api = api(&stub);
        for length in [1, PIECE_BYTES, 100_000] {
            let answer = api.post(HeaderMap::new(), vec![b'x'; length]).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "yes"));
            let request = stub.request();
            assert_eq!(request.body.len(), length);
            assert_eq!(request.header("content-length"), Some(length.to_string().as_str()));
        }
    }

    #[tokio::test]
    async fn t28_a_connection_lost_after_the_request_is_uncertain() {
        for act in [Act::Cut, Act::Hush, Act::Raw("nonsense\r\n\r\n")] {
            let error = outcome(act.clone()).await.unwrap_err();
            assert!(matches!(error, SendError::Uncertain { .. }), "{act:?}: {error}");
        }
    }

    #[tokio::test]
    async fn t28_a_connection_lost_before_the_end_of_the_request_is_for_now() {
        let stub = Stub::start(|_| Act::Hush).await;
        let nobody = Api::new(&Stub::nobody().await, "/", Duration::from_secs(1)).unwrap();
        let error = nobody.post(HeaderMap::new(), b"{}".to_vec()).await.unwrap_err();
        assert!(matches!(error, SendError::Temporary { .. }), "{error}");
        // The server reads the head alone and closes; the request is larger than what the sockets hold.
        stub.cut_after_head();
        let error = api(&stub).post(HeaderMap::new(), vec![b'x'; 20_000_000]).await.unwrap_err();
        assert!(matches!(error, SendError::Temporary { .. }), "{error}");
    }

    #[tokio::test]
    async fn t29_a_waiting_connection_that_was_closed_is_not_used_again() {
        let stub = Stub::start(|_| Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
        let api = api(&stub);
        for _ in 0..3 {
            api.post(HeaderMap::new(), b"{}".to_vec()).await.unwrap();
            // The end of the connection comes after the answer.
            sleep(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_one_by_its_status() {
        let answer =
            outcome(Act::Raw("HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nabc")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (202, "abc"));
        let endless = "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n";
        let endless: &'static str = format!("{endless}{}", "x".repeat(2 * MAX_ANSWER_BYTES)).leak();
        assert_eq!(outcome(Act::Raw(endless)).await.unwrap().body.len(), MAX_ANSWER_BYTES);
    }

    #[tokio::test]
    async fn redirects_are_answers() {
        let other = Stub::start(|_| Act::answer(200, "")).await;
        let location = format!("location: {}/", other.base());
        let act = Act::Answer { status: 307, headers: vec![location], body: String::new() };
        let answer = outcome(act).await.unwrap();
        assert!(matches!(answer.error(""), SendError::Misconfigured { .. }));
        assert!(other.try_request().is_none(), "the letter went elsewhere");
    }

    #[test]
    fn statuses_say_whose_fault_it_is() {
        let error = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            Answer { status, headers: HeaderMap::new(), body: Bytes::new() }.error("a\nb")
        };
        for status in [400, 413, 422] {
            let refused = SendError::Refused { why: format!("{status} a b"), enhanced: None };
            assert_eq!(error(status), refused);
        }
        for status in [408, 409, 415, 425, 429, 500, 502, 503] {
            let later = SendError::Temporary {
                why: format!("{status} a b"),
                retry_after: None,
                scope: TemporaryScope::Server,
            };
            assert_eq!(error(status), later);
        }
        for status in [301, 302, 401, 403, 404, 405] {
            assert_eq!(error(status), SendError::Misconfigured { why: format!("{status} a b") });
        }
        assert_eq!(error(504), SendError::Uncertain { why: "504 a b".to_owned() });
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        let wait = |value: &str| {
            let headers = [(header::RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Wed, 21 Oct 2026 07:29:30 GMT"), Some(90));
        assert_eq!(wait("Wed, 21 Oct 2026 07:00:00 GMT"), Some(0));
        assert_eq!(wait("99999999999"), Some(24 * 3600));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
