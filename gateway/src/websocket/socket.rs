//! A WebSocket's connection: what comes is decoded from a buffer that the thread lends, so that an idle socket holds
//! none; what goes out is framed and written by whoever has it, and what the kernel does not take waits here.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes, BytesMut};
use mundotango_actors::{DirectSocket, DirectWrite};
use parking_lot::Mutex;

use super::byte_stream::ByteStream;
use super::decoder::{Decoder, Message, Violation};
use super::frame::{Head, Opcode};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// While more than this waits to be written, pings are not answered: a client that sends them and reads nothing must
/// not fill the memory.
const PONGS_UP_TO: usize = 4096;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// How messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As texts.
    Text,
    /// As bytes.
    Binary,
}

/// What a read gave.
pub(super) enum Received {
    /// Messages, perhaps none yet. Of several pings only the last is among them (RFC 6455, 5.5.3): each answer costs a
    /// system call, and a ping six bytes.
    Messages(Vec<Message>),
    /// What came before the client broke the rules.
    Broken(Vec<Message>, Violation),
    /// The client is gone.
    Gone,
}

pub(super) struct Socket {
    stream: ByteStream,
    form: Form,
    /// What the kernel has not taken yet, from within a frame on.
    rest: Mutex<BytesMut>,
}

impl Socket {
    pub(super) fn new(stream: ByteStream, form: Form) -> Self {
        Self { stream, form, rest: Mutex::default() }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Reads what is there.
    pub(super) fn read(&self, decoder: &mut Decoder) -> Received {
        BUFFER.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => Received::Gone,
            Ok(count) => decode(decoder, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Messages(Vec::new()),
            Err(_) => Received::Gone,
        })
    }

    /// Reads what is there and forgets it; whether the client is gone.
    pub(super) fn discard(&self) -> bool {
        BUFFER.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        })
    }

    /// Takes a message of the owner's; [`flush`](Self::flush) writes what the kernel does not take now.
    pub(super) fn put(&self, payload: &[u8]) {
        self.put_frame(self.opcode(), payload);
    }

    /// The same, as a text whatever the socket's form is.
    pub(super) fn put_text(&self, payload: &[u8]) {
        self.put_frame(Opcode::Text, payload);
    }

    /// Answers a ping, unless too much waits.
    pub(super) fn pong(&self, payload: &[u8]) {
        if self.rest.lock().len() <= PONGS_UP_TO {
            self.put_frame(Opcode::Pong, payload);
        }
    }

    /// Asks whether the client is there.
    pub(super) fn ping(&self) {
        self.put_frame(Opcode::Ping, b"");
    }

    /// Says why the connection ends.
    pub(super) fn close(&self, code: Option<u16>, reason: &str) {
        let payload = code.map(|code| [&code.to_be_bytes(), reason.as_bytes()].concat());
        self.put_frame(Opcode::Close, &payload.unwrap_or_default());
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shut_down(&self) {
        self.stream.shut_down();
    }

    /// Whether something waits that the kernel did not take.
    pub(super) fn is_waiting(&self) -> bool {
        !self.rest.lock().is_empty() || self.stream.has_unsent()
    }

    /// Writes all that waits.
    pub(super) async fn flush(&self) -> io::Result<()> {
        loop {
            {
                let mut rest = self.rest.lock();
                while !rest.is_empty() {
                    match self.stream.try_write(&rest) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(count) => rest.advance(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                if rest.is_empty() {
                    *rest = BytesMut::new();
                    match self.stream.try_send_unsent() {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        sent => return sent,
                    }
                }
            }
            self.stream.writable().await?;
        }
    }

    /// What stands between two messages of a session that share a frame: texts are JSON, and Protobuf has lengths.
    pub(super) fn separator(&self) -> &'static [u8] {
        match self.form {
            Form::Text => b"\n",
            Form::Binary => b"",
        }
    }

    fn opcode(&self) -> Opcode {
        match self.form {
            Form::Text => Opcode::Text,
            Form::Binary => Opcode::Binary,
        }
    }

    fn put_frame(&self, opcode: Opcode, payload: &[u8]) {
        let head = Head::new(opcode, payload.len());
        let mut rest = self.rest.lock();
        if rest.is_empty() {
            self.write_or_keep(&mut rest, head.as_bytes(), payload);
        } else {
            rest.extend_from_slice(head.as_bytes());
            rest.extend_from_slice(payload);
        }
    }

    /// Writes a frame as far as the kernel takes it, and keeps the rest.
    fn write_or_keep(&self, rest: &mut BytesMut, head: &[u8], payload: &[u8]) {
        mundotango_ops::metrics().realtime_bytes_sent_total.inc_by((head.len() + payload.len()) as u64);
        // A connection that failed is found so by its owner, who is to write the rest.
        let written =
            self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(payload)]).unwrap_or(0);
        if written < head.len() + payload.len() {
            rest.extend_from_slice(head.get(written..).unwrap_or_default());
            rest.extend_from_slice(&payload[written.saturating_sub(head.len())..]);
        }
    }
}

impl DirectSocket for Socket {
    fn try_write(&self, messages: &[Bytes]) -> DirectWrite {
        let Some(mut rest) = self.rest.try_lock() else { return DirectWrite::Blocked };
        if !rest.is_empty() || self.stream.has_unsent() {
            return DirectWrite::Blocked;
        }
        let payload = join(messages, self.separator());
        let head = Head::new(self.opcode(), payload.len());
        self.write_or_keep(&mut rest, head.as_bytes(), &payload);
        let all = rest.is_empty() && !self.stream.has_unsent();
        if all { DirectWrite::Written } else { DirectWrite::Partly(rest.len()) }
    }
}

/// Reads the messages that bytes complete.
pub(super) fn decode(decoder: &mut Decoder, mut bytes: &[u8]) -> Received {
    let mut messages: Vec<Message> = Vec::new();
    let mut ping = None;
    let outcome = loop {
        match decoder.next(&mut bytes) {
            Ok(Some(message @ Message::Ping(_))) => {
                if let Some(at) = ping {
                    messages[at] = message;
                } else {
                    ping = Some(messages.len());
                    messages.push(message);
                }
            }
            // One pong says as much as many.
            Ok(Some(Message::Pong(_))) if matches!(messages.last(), Some(Message::Pong(_))) => {}
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break Ok(()),
            Err(violation) => break Err(violation),
        }
    };
    match outcome {
        Ok(()) => Received::Messages(messages),
        Err(violation) => Received::Broken(messages, violation),
    }
}

/// Messages as one.
pub(super) fn join(messages: &[Bytes], separator: &[u8]) -> Bytes {
    if let [one] = messages {
        return one.clone();
    }
    let bytes = messages.iter().map(|message| message.len() + separator.len()).sum();
    let mut frame = BytesMut::with_capacity(bytes);
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            frame.extend_from_slice(separator);
        }
        frame.extend_from_slice(message);
    }
    frame.freeze()
}
