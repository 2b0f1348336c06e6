//! Against a server that plays a script.

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::email::{Mailbox, MessageId, Rendered};

/// What the server does at one command: it answers, or it cuts the connection, or it says nothing.
#[derive(Clone, Copy)]
enum Act {
    Say(&'static str),
    Cut,
    Hush,
}

use Act::{Cut, Hush, Say};

/// A server whose connections answer as `script` says: by the number of the connection, and by the command.
/// It tells all commands that it gets, with the number of the connection.
async fn serve(script: fn(usize, &str) -> Option<Act>) -> (u16, mpsc::UnboundedReceiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, commands) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            tokio::spawn(async move { talk(BufReader::new(stream), number, script, &told).await });
        }
    });
    (port, commands)
}

async fn talk(
    mut stream: BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    number: usize,
    script: fn(usize, &str) -> Option<Act>,
    told: &mpsc::UnboundedSender<(usize, String)>,
) {
    let mut command = "GREETING".to_owned();
    loop {
        let usual = match command.split(' ').next().unwrap_or_default() {
            "GREETING" => "220 hello",
            "DATA" => "354 go on",
            "EHLO" => "250-hello\r\n250 AUTH PLAIN",
            _ => "250 2.0.0 ok",
        };
        match script(number, &command).unwrap_or(Say(usual)) {
            Say(answer) => stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap(),
            Cut => return,
            Hush => {
                let _ = stream.read_u8().await;
                return;
            }
        }
        let in_message = command == "DATA";
        let mut read = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            read.push_str(&line);
            if !in_message || line == ".\r\n" {
                break;
            }
        }
        command = if in_message { "DOT".to_owned() } else { read.trim_end().to_owned() };
        let _ = told.send((number, command.clone()));
    }
}

fn transport(port: u16) -> SmtpTransport {
    transport_of(&SmtpOptions { port, ..options() })
}

fn options() -> SmtpOptions {
    SmtpOptions {
        host: "127.0.0.1".to_owned(),
        tls: SmtpTls::None,
        hello_name: Some("node.example.com".to_owned()),
        command_timeout: Duration::from_millis(300),
        final_timeout: Duration::from_millis(400),
        ..SmtpOptions::default()
    }
}

fn transport_of(options: &SmtpOptions) -> SmtpTransport {
    SmtpTransport::new(options).unwrap()
}

fn message() -> Message {
    let rendered = Rendered {
        subject: "x".to_owned(),
        html: "<p>x</p>".to_owned(),
        text: ".\nx".to_owned(),
        unsubscribe: None,
    };
    let ana: Mailbox = "Ana <ana@example.com>".parse().unwrap();
    let date = jiff::Timestamp::UNIX_EPOCH;
    Message::compose(&ana, &ana, &rendered, MessageId::of_job("1").unwrap(), "example.com", date).unwrap()
}

async fn outcome(script: fn(usize, &str) -> Option<Act>) -> SendError {
    let (port, _commands) = serve(script).await;
    transport(port).send(&message()).await.unwrap_err()
}

#[tokio::test]
async fn a_lost_or_missing_answer_before_the_final_dot_is_for_now() {
    let scripts: [fn(usize, &str) -> Option<Act>; 6] = [
        |_, command| (command == "GREETING").then_some(Cut),
        |_, command| command.starts_with("EHLO").then_some(Cut),
        |_, command| command.starts_with("MAIL").then_some(Cut),
        |_, command| command.starts_with("RCPT").then_some(Hush),
        |_, command| (command == "DATA").then_some(Cut),
        |_, command| (command == "DATA").then_some(Say("250 what")),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let error = outcome(script).await;
        assert!(matches!(error, SendError::Temporary { .. }), "{number}: {error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert!(matches!(transport(nobody).send(&message()).await, Err(SendError::Temporary { .. })));
}

#[tokio::test]
async fn a_lost_or_missing_answer_after_the_final_dot_is_uncertain() {
    let scripts: [fn(usize, &str) -> Option<Act>; 3] = [
        |_, command| (command == "DOT").then_some(Cut),
        |_, command| (command == "DOT").then_some(Hush),
        |_, command| (command == "DOT").then_some(Say("nonsense")),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let error = outcome(script).await;
        assert!(matches!(error, SendError::Uncertain { .. }), "{number}: {error}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_read_to_its_end_is_for_now() {
    // Nothing of the message is read, and it is larger than what the sockets of both sides hold.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for answer in ["220 hello", "250 hello", "250 ok", "250 ok", "354 go on"] {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            if !answer.starts_with("354") {
                stream.read_line(&mut String::new()).await.unwrap();
            }
        }
        std::future::pending::<()>().await;
    });
    let ana: Mailbox = "ana@example.com".parse().unwrap();
    let text = "la cumparsita ".repeat(1_000_000);
    let rendered = Rendered { subject: "x".to_owned(), html: "x".to_owned(), text, unsubscribe: None };
    let date = jiff::Timestamp::UNIX_EPOCH;
    let id = MessageId::of_job("1").unwrap();
    let large = Message::compose(&ana, &ana, &rendered, id, "example.com", date).unwrap();
    let error = transport(port).send(&large).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Temporary { why, .. } if why.contains("before the final dot")),
        "{error}"
    );
}

#[tokio::test]
async fn the_servers_no_is_told_with_its_step_and_codes() {
    let error = outcome(|_, command| {
        command.starts_with("RCPT").then_some(Say("550-5.1.1 no such\r\n550 5.1.1 user here"))
    });
    let refused = SendError::Refused {
        why: "at RCPT: 550 5.1.1 no such user here".to_owned(),
        enhanced: Some("5.1.1".to_owned()),
    };
    assert_eq!(error.await, refused);
    let error = outcome(|_, command| (command == "DOT").then_some(Say("552 5.2.2 full"))).await;
    assert!(matches!(error, SendError::Refused { .. }), "{error}");
    let error = outcome(|_, command| (command == "DOT").then_some(Say("451 4.3.0 in 60 seconds"))).await;
    let later = Some(Duration::from_mins(1));
    assert!(matches!(error, SendError::Temporary { retry_after, .. } if retry_after == later), "{error}");
}

#[tokio::test]
async fn a_mailbox_that_is_full_for_now_says_nothing_about_the_server() {
    let scope = async |script| match outcome(script).await {
        SendError::Temporary { scope, .. } => scope,
        other => panic!("{other}"),
    };
    let full = scope(|_, command| command.starts_with("RCPT").then_some(Say("452 4.2.2 full"))).await;
    assert_eq!(full, TemporaryScope::Recipient);
    let later = scope(|_, command| (command == "DOT").then_some(Say("451 4.7.1 greylisted"))).await;
    assert_eq!(later, TemporaryScope::Recipient);
    let closing = scope(|_, command| command.starts_with("RCPT").then_some(Say("421 4.3.2 closing"))).await;
    assert_eq!(closing, TemporaryScope::Server);
    let busy = scope(|_, command| command.starts_with("MAIL").then_some(Say("452 4.3.1 disk full"))).await;
    assert_eq!(busy, TemporaryScope::Server);
    assert_eq!(scope(|_, command| command.starts_with("RCPT").then_some(Cut)).await, TemporaryScope::Server);
}

#[tokio::test]
async fn an_encrypted_connection_is_never_given_up_for_a_plain_one() {
    let (port, mut commands) = serve(|_, _| None).await;
    let transport = transport_of(&SmtpOptions { port, tls: SmtpTls::Starttls, ..options() });
    let error = transport.send(&message()).await.unwrap_err();
    assert!(matches!(&error, SendError::Temporary { why, .. } if why.contains("STARTTLS")), "{error}");
    assert_eq!(commands.recv().await.unwrap(), (0, "EHLO node.example.com".to_owned()));
    assert!(commands.try_recv().is_err(), "nothing may be sent in plain text");
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_where_it_is_named() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.pem()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let (told, _commands) = mpsc::unbounded_channel();
                tokio::spawn(async move { talk(BufReader::new(stream), 0, |_, _| None, &told).await });
            }
        }
    });
    let options = SmtpOptions { host: "localhost".to_owned(), port, tls: SmtpTls::Tls, ..options() };
    let error = transport_of(&options).send(&message()).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Temporary { why, .. } if why.starts_with("while connecting")),
        "{error}"
    );
    let named = SmtpOptions { ca_file: Some(ca_file), ..options.clone() };
    transport_of(&named).send(&message()).await.unwrap();
    let nowhere = SmtpOptions { ca_file: Some("/nowhere.pem".into()), ..options };
    let error = format!("{:#}", SmtpTransport::new(&nowhere).err().unwrap());
    assert!(error.contains("cannot read /nowhere.pem"), "{error}");
}

#[tokio::test]
async fn the_password_is_sent_and_never_shown() {
    let (port, mut commands) =
        serve(|_, command| command.starts_with("AUTH").then_some(Say("454 4.7.0 not now"))).await;
    let password = Some(mundotango_ops::Secret::new("hidden".to_owned()));
    let transport = transport_of(&SmtpOptions { port, user: Some("u".to_owned()), password, ..options() });
    let error = transport.send(&message()).await.unwrap_err();
    assert_eq!(error.to_string(), "not sent for now: at AUTH: 454 4.7.0 not now");
    commands.recv().await.unwrap();
    assert_eq!(commands.recv().await.unwrap().1, "AUTH PLAIN AHUAaGlkZGVu");
}

#[tokio::test]
async fn a_connection_is_used_again_after_success_and_after_a_refusal() {
    let (port, mut commands) = serve(|_, _| None).await;
    let transport = transport(port);
    for _ in 0..3 {
        transport.send(&message()).await.unwrap();
    }
    let mut all = Vec::new();
    while let Ok(command) = commands.try_recv() {
        all.push(command);
    }
    assert!(all.iter().all(|(connection, _)| *connection == 0), "{all:?}");
    assert_eq!(all.iter().filter(|(_, command)| command == "NOOP").count(), 2);

    let (port, mut commands) =
        serve(|_, command| command.starts_with("RCPT").then_some(Say("550 5.1.1 no"))).await;
    let transport = self::transport(port);
    for _ in 0..2 {
        transport.send(&message()).await.unwrap_err();
    }
    let mut resets = 0;
    while let Ok((connection, command)) = commands.try_recv() {
        assert_eq!(connection, 0);
        resets += usize::from(command == "RSET");
    }
    assert_eq!(resets, 2);
}

#[tokio::test]
async fn a_waiting_connection_that_is_closed_costs_no_attempt() {
    // The first connection takes one message, and then fails at each command that could find this out.
    let scripts: [fn(usize, &str) -> Option<Act>; 3] = [
        |connection, command| (connection == 0 && command == "NOOP").then_some(Cut),
        |connection, command| (connection == 0 && command == "NOOP").then_some(Say("421 4.4.2 idle")),
        |connection, command| (connection == 0 && command == "NOOP").then_some(Hush),
    ];
    for script in scripts {
        let (port, mut commands) = serve(script).await;
        let transport = transport(port);
        transport.send(&message()).await.unwrap();
        transport.send(&message()).await.unwrap();
        let mut last = 0;
        while let Ok((connection, _)) = commands.try_recv() {
            last = connection;
        }
        assert_eq!(last, 1);
    }
}

#[tokio::test]
async fn few_idle_connections_are_kept() {
    let (port, _commands) = serve(|_, _| None).await;
    let transport = transport(port);
    let message = message();
    let sent = (0..8).map(|_| transport.send(&message));
    for result in futures_util::future::join_all(sent).await {
        result.unwrap();
    }
    assert_eq!(transport.idle.lock().len(), MAX_IDLE);
    transport.idle.lock().iter_mut().for_each(|idle| idle.since = Instant::now() - MAX_IDLE_TIME);
    assert!(transport.waiting().await.is_none() && transport.idle.lock().is_empty());
}
