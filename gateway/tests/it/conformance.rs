//! What suites for RFC 6455 try, against an echo on the sessions' WebSocket stack, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mundotango_gateway::websocket::{self, Limits, Message, WebSocket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits { max_message_bytes: 1024 * 1024, max_fragments: 100 };
const PATIENCE: Duration = Duration::from_secs(20);

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const LAST: u8 = 0x80;

async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.receive().await {
        let sent = match &message {
            Message::Text(text) => socket.send_text(text).await,
            Message::Binary(bytes) => socket.send_binary(bytes).await,
            other => panic!("{other:?} is not for the application"),
        };
        if sent.is_err() {
            break;
        }
    }
}

/// Starts an echo and gives its address once it listens.
async fn server() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    tokio::spawn(websocket::serve(address, LIMITS, echo));
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    address
}

/// A client that can break every rule.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn open() -> Self {
        Self::connect(server().await).await
    }

    async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = request(&[]);
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = head_of(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(
            answer.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answer}"
        );
        Self { stream }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame: its first byte and its payload. `None` at the end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(PATIENCE, async {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => usize::from(self.stream.read_u16().await.ok()?),
                127 => usize::try_from(self.stream.read_u64().await.ok()?).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        })
        .await
        .expect("nothing came")
    }

    async fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let (first, got) = self.frame().await.expect("the connection ended");
        assert_eq!((first, got.len()), (LAST | opcode, payload.len()));
        assert!(got == payload, "the payload differs");
    }

    /// Waits for the end; the close code, if there is one.
    async fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.frame().await {
                Some((first, payload)) if first == LAST | CLOSE => {
                    return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
                Some(_) => {}
                None => panic!("the connection ended without a close frame"),
            }
        }
    }
}

fn request(changed: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("host", "localhost"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in changed {
        headers.retain(|(known, _)| known != name);
        headers.push((name, value));
    }
    let lines: Vec<_> = headers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat())
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A masked frame. `first` has the opcode and the bits before it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..65536 => {
            frame.push(0x80 | 0x7E);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 0x7F);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[tokio::test]
async fn messages_of_all_sizes_come_back() {
    let mut client = Client::open().await;
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 1024 * 1024] {
        let payload = vec![b'*'; size];
        client.send(&frame(LAST | TEXT, &payload)).await;
        client.expect(TEXT, &payload).await;
        client.send(&frame(LAST | BINARY, &payload)).await;
        client.expect(BINARY, &payload).await;
    }
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let mut client = Client::open().await;
    for byte in frame(LAST | TEXT, "ocho cortado ñ".as_bytes()) {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    client.expect(TEXT, "ocho cortado ñ".as_bytes()).await;
}

#[tokio::test]
async fn fragments_are_put_together_around_control_frames() {
    let mut client = Client::open().await;
    client.send(&frame(TEXT, b"one ")).await;
    client.send(&frame(LAST | PING, b"between")).await;
    client.expect(PONG, b"between").await;
    client.send(&frame(0, b"two ")).await;
    client.send(&frame(0, b"")).await;
    client.send(&frame(LAST | PONG, b"unasked")).await;
    client.send(&frame(LAST, b"three")).await;
    client.expect(TEXT, b"one two three").await;
}

#[tokio::test]
async fn every_broken_rule_has_its_close_code() {
    let close = |code: u16, reason: &[u8]| frame(LAST | CLOSE, &[&code.to_be_bytes(), reason].concat());
    for (bytes, code) in [
        (frame(LAST | 0x40 | TEXT, b"x"), 1002),
        (frame(LAST | 0x20 | TEXT, b"x"), 1002),
        (frame(LAST | 0x10 | PING, b"x"), 1002),
        (frame(LAST | 0x3, b"x"), 1002),
        (frame(LAST | 0xB, b"x"), 1002),
        (vec![LAST | TEXT, 1, b'x'], 1002),
        (frame(PING, b"cut"), 1002),
        (frame(LAST | PING, &[0; 126]), 1002),
        (frame(LAST, b"of nothing"), 1002),
        ([frame(TEXT, b"one"), frame(LAST | TEXT, b"another")].concat(), 1002),
        (frame(LAST | CLOSE, b"x"), 1002),
        (close(0, b""), 1002),
        (close(1004, b""), 1002),
        (close(1006, b""), 1002),
        (close(2999, b""), 1002),
        (close(65535, b""), 1002),
        (
            close(
                1000,
                &[0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xcf, 0x83, 0xce, 0xbc, 0xce, 0xb5, 0xed, 0xa0, 0x80],
            ),
            1007,
        ),
        (frame(LAST | TEXT, &[0xc0, 0x80]), 1007),
        ([frame(TEXT, b"ok"), frame(LAST, &[0xff])].concat(), 1007),
        (frame(LAST | TEXT, &[0xe1, 0xbd]), 1007),
        (frame(LAST | BINARY, &vec![0; 1024 * 1024 + 1]), 1009),
    ] {
        let mut client = Client::open().await;
        client.send(&bytes).await;
        let shown = &bytes[..bytes.len().min(20)];
        assert_eq!(client.close_code().await, Some(code), "{shown:x?}");
        assert_eq!(client.frame().await, None, "{shown:x?}: after the close frame comes nothing");
    }
}

#[tokio::test]
async fn closing_is_answered_with_the_same_code() {
    for code in [1000u16, 1001, 1007, 1011, 3000, 3999, 4999] {
        let mut client = Client::open().await;
        client.send(&frame(LAST | TEXT, b"before")).await;
        client.send(&frame(LAST | CLOSE, &code.to_be_bytes())).await;
        client.send(&frame(LAST | TEXT, b"after")).await;
        client.expect(TEXT, b"before").await;
        assert_eq!(client.close_code().await, Some(code));
    }
    let mut client = Client::open().await;
    client.send(&frame(LAST | CLOSE, b"")).await;
    assert_eq!(client.close_code().await, None);
}

#[tokio::test]
async fn a_bad_text_is_refused_before_it_is_whole() {
    let mut client = Client::open().await;
    let whole = frame(LAST | TEXT, &[b"good \xff".as_slice(), &[b'x'; 1000]].concat());
    client.send(&whole[..40]).await;
    assert_eq!(client.close_code().await, Some(1007));
    let mut client = Client::open().await;
    client.send(&frame(TEXT, &[0xf4, 0x90])).await;
    assert_eq!(client.close_code().await, Some(1007), "no character begins so");
}

#[tokio::test]
async fn a_message_that_never_ends_does() {
    let mut client = Client::open().await;
    client.send(&frame(TEXT, b"")).await;
    for _ in 0..LIMITS.max_fragments {
        client.send(&frame(0, b"")).await;
    }
    assert_eq!(client.close_code().await, Some(1009));
    let mut client = Client::open().await;
    client.send(&frame(BINARY, &vec![0; 60_000])).await;
    for _ in 0..20 {
        client.send(&frame(0, &vec![0; 60_000])).await;
    }
    assert_eq!(client.close_code().await, Some(1009));
}

/// The server, the client that is looked at and all their timers share one thread with what the floods make of it.
#[tokio::test]
async fn a_flood_keeps_nobody_waiting() {
    let address = server().await;
    for flood in [frame(LAST | PING, b""), frame(LAST | PONG, b""), frame(LAST | TEXT, b"")] {
        let stop = Arc::new(AtomicBool::new(false));
        let flooding: Vec<_> = (0..2)
            .map(|_| {
                let (stop, flood) = (Arc::clone(&stop), flood.repeat(10_000));
                std::thread::spawn(move || {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.write_all(request(&[]).as_bytes()).unwrap();
                    let mut answers = stream.try_clone().unwrap();
                    std::thread::spawn(
                        move || while answers.read(&mut [0; 8192]).is_ok_and(|got| got > 0) {},
                    );
                    while !stop.load(Ordering::Relaxed) && stream.write_all(&flood).is_ok() {}
                })
            })
            .collect();
        let mut canary = Client::connect(address).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let start = std::time::Instant::now();
            canary.send(&frame(LAST | TEXT, b"tweet")).await;
            canary.expect(TEXT, b"tweet").await;
            slowest = slowest.max(start.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        for thread in flooding {
            // The server needs this thread to take what the flood still writes.
            tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
}

#[tokio::test]
async fn of_many_pings_in_one_packet_the_last_is_answered() {
    let mut client = Client::open().await;
    let pings = [b"1", b"2", b"3"].map(|payload| frame(LAST | PING, payload)).concat();
    client.send(&[pings, frame(LAST | TEXT, b"then")].concat()).await;
    client.expect(PONG, b"3").await;
    client.expect(TEXT, b"then").await;
}

#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_reads_nothing_takes_no_memory() {
    let mut client = Client::open().await;
    let ping = frame(LAST | PING, &[b'p'; 125]).repeat(1000);
    // 100 MB of pings: were each answer kept, as much would wait.
    let before = resident_bytes();
    let flood = async {
        for _ in 0..800 {
            client.send(&ping).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), flood).await.expect("the pings were not read");
    let after = resident_bytes();
    assert!(after.saturating_sub(before) < 40 * 1024 * 1024, "{before} → {after}");
    client.send(&frame(LAST | TEXT, b"still here")).await;
    loop {
        match client.frame().await.expect("the connection ended") {
            (first, _) if first == LAST | PONG => {}
            (first, payload) => {
                assert_eq!((first, payload.as_slice()), (LAST | TEXT, &b"still here"[..]));
                break;
            }
        }
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn handshakes_that_are_none_are_refused() {
    let address = server().await;
    for changed in [
        &[("upgrade", "")][..],
        &[("connection", "close")],
        &[("sec-websocket-version", "8")],
        &[("sec-websocket-key", "short")],
        &[("sec-websocket-key", "")],
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request(changed).as_bytes()).await.unwrap();
        assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 400"), "{changed:?}");
    }
}

#[tokio::test]
async fn what_follows_the_handshake_in_one_packet_is_not_lost() {
    let mut stream = TcpStream::connect(server().await).await.unwrap();
    let bytes = [request(&[]).into_bytes(), frame(LAST | TEXT, b"at once")].concat();
    stream.write_all(&bytes).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 101"));
    Client { stream }.expect(TEXT, b"at once").await;
}
