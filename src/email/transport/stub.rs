//! A provider for tests: it reads requests whole, and answers as a script says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::http::Api;
use crate::email::{Invitation, Mailbox, Message, MessageId, Rendered};
use crate::icalendar::Method;

/// What the provider does when it has read a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// It answers, with header lines.
    Answer { status: u16, headers: Vec<String>, body: String },
    /// It writes this and closes.
    Raw(&'static str),
    /// It closes the connection.
    Cut,
    /// It says nothing.
    Hush,
}

impl Act {
    pub(super) fn answer(status: u16, body: &str) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.to_owned() }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Method and path.
    pub(super) line: String,
    /// With names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A provider on a port of its own.
pub(super) struct Stub {
    port: u16,
    requests: Mutex<mpsc::UnboundedReceiver<Request>>,
    cuts_after_head: Arc<AtomicBool>,
}

impl Stub {
    pub(super) async fn start(script: impl Fn(&Request) -> Act + Clone + Send + Sync + 'static) -> Self {
        // The client wants to know whose cryptography it is to use, though nothing here speaks TLS.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, requests) = mpsc::unbounded_channel();
        let cuts_after_head = Arc::new(AtomicBool::new(false));
        let cuts = Arc::clone(&cuts_after_head);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, told, cuts) = (script.clone(), told.clone(), Arc::clone(&cuts));
                tokio::spawn(async move { talk(stream, script, &told, &cuts).await });
            }
        });
        Self { port, requests: Mutex::new(requests), cuts_after_head }
    }

    /// The address of a port that nobody listens on.
    pub(super) async fn nobody() -> String {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    }

    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on connections are closed when the head of a request has come.
    pub(super) fn cut_after_head(&self) {
        self.cuts_after_head.store(true, Ordering::SeqCst);
    }

    /// The next request that came.
    pub(super) fn request(&self) -> Request {
        self.try_request().expect("no request came")
    }

    pub(super) fn try_request(&self) -> Option<Request> {
        self.requests.lock().try_recv().ok()
    }
}

async fn talk(
    stream: TcpStream,
    script: impl Fn(&Request) -> Act,
    told: &mpsc::UnboundedSender<Request>,
    cuts_after_head: &AtomicBool,
) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = head(&mut stream).await {
        if cuts_after_head.load(Ordering::SeqCst) {
            return;
        }
        let length = request.header("content-length").expect("a length").parse().unwrap();
        request.body = vec![0; length];
        if stream.read_exact(&mut request.body).await.is_err() {
            return;
        }
        let act = script(&request);
        let _ = told.send(request);
        match act {
            Act::Answer { status, headers, body } => {
                let lines: String = headers.iter().map(|line| line.clone() + "\r\n").collect();
                let head = format!("HTTP/1.1 {status} x\r\n{lines}content-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
            Act::Raw(bytes) => return stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            Act::Cut => return,
            Act::Hush => return drop(stream.read_u8().await),
        }
    }
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers = lines[1..].iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    let line = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, headers: headers.collect(), body: Vec::new() })
}

/// Requests to a provider that waits for an answer for a moment only.
pub(super) fn api(stub: &Stub) -> Api {
    Api::new(&stub.base(), "/", Duration::from_millis(300)).unwrap()
}

/// A letter with all that is hard about letters.
pub(super) fn message() -> Message {
    message_with(None)
}

/// The same with an invitation.
pub(super) fn invitation() -> Message {
    let calendar = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:¡Milonga!\r\nEND:VCALENDAR\r\n".to_owned();
    message_with(Some(&Invitation { method: Method::Request, calendar }))
}

fn message_with(invitation: Option<&Invitation>) -> Message {
    let rendered = Rendered {
        subject: "¡Hola, Ana! 🕺".to_owned(),
        html: "<p>¡Hola &amp; adiós!</p>".to_owned(),
        text: "¡Hola!\n.\n".to_owned(),
        unsubscribe: None,
    };
    let from: Mailbox = "MundoTango <no-reply@example.com>".parse().unwrap();
    let to: Mailbox = "Ana \"la ñata\" <ana@milonga.españa>".parse().unwrap();
    let date = "2026-07-04T22:00:00Z".parse().unwrap();
    let id = MessageId::of_job("job-1").unwrap();
    Message::compose_with(&from, &to, &rendered, invitation, id, "example.com", date).unwrap()
}
