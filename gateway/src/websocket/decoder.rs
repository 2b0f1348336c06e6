//! Reading a client's frames as their bytes come (RFC 6455, 5), and putting messages together.
//!
//! Memory grows with what has come, never with what a head announces, and a text is checked as it comes.

use bytes::Bytes;

use super::frame::{MAX_CONTROL_BYTES, Opcode, close_code, mask, may_be_received};

/// Largest head of a client's frame, in bytes.
const MAX_HEAD_BYTES: usize = 14;
/// Bytes of a mask.
const MASK_BYTES: usize = 4;

/// What a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes.
    pub max_message_bytes: usize,
    /// Most frames of one message.
    pub max_fragments: usize,
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text, which is UTF-8.
    Text(Bytes),
    /// Bytes.
    Binary(Bytes),
    /// A question whether we are there, to be answered with the same bytes.
    Ping(Bytes),
    /// The answer to our own.
    Pong(Bytes),
    /// The client closes, with its code.
    Close(Option<u16>),
}

/// A client that does not keep to the rules; the connection ends with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Violation {
    /// The close code.
    pub code: u16,
    /// For people.
    pub text: &'static str,
}

const fn broken(text: &'static str) -> Violation {
    Violation { code: close_code::PROTOCOL, text }
}

const NOT_UTF8: Violation = Violation { code: close_code::INVALID_PAYLOAD, text: "text is not utf-8" };

/// Reads frames.
pub(super) struct Decoder {
    limits: Limits,
    stage: Stage,
    /// The message whose frames are coming.
    message: Option<Partial>,
}

enum Stage {
    Head { bytes: [u8; MAX_HEAD_BYTES], have: usize },
    Payload { head: Head, taken: usize, control: Vec<u8> },
}

#[derive(Clone, Copy)]
struct Head {
    opcode: Opcode,
    last: bool,
    length: usize,
    mask: [u8; MASK_BYTES],
}

struct Partial {
    is_text: bool,
    bytes: Vec<u8>,
    /// Up to where the text was checked.
    checked: usize,
    fragments: usize,
}

const NEW_HEAD: Stage = Stage::Head { bytes: [0; MAX_HEAD_BYTES], have: 0 };

impl Decoder {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, stage: NEW_HEAD, message: None }
    }

    /// Takes bytes until a message is whole; `None` once all bytes are taken.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Violation> {
        loop {
            match &mut self.stage {
                Stage::Head { bytes, have } => {
                    let wanted = head_length(&bytes[..*have]);
                    let taken = take(input, wanted - *have);
                    bytes[*have..*have + taken.len()].copy_from_slice(taken);
                    *have += taken.len();
                    if *have < wanted {
                        return Ok(None);
                    }
                    let (bytes, have) = (*bytes, *have);
                    if have == 2 {
                        self.check(bytes[0], bytes[1])?;
                    }
                    if have == head_length(&bytes[..have]) {
                        let head = self.head_of(&bytes[..have])?;
                        self.begin(head);
                        self.stage = Stage::Payload { head, taken: 0, control: Vec::new() };
                    }
                }
                Stage::Payload { head, taken, control } => {
                    let part = take(input, head.length - *taken);
                    let target = match &mut self.message {
                        Some(message) if !head.opcode.is_control() => &mut message.bytes,
                        _ => control,
                    };
                    let start = target.len();
                    target.extend_from_slice(part);
                    mask(&mut target[start..], head.mask, *taken);
                    *taken += part.len();
                    let (head, whole) = (*head, *taken == head.length);
                    if let Some(message) = self.message.as_mut().filter(|_| !head.opcode.is_control()) {
                        message.check(whole && head.last)?;
                    }
                    if !whole {
                        return Ok(None);
                    }
                    let control = std::mem::take(control);
                    self.stage = NEW_HEAD;
                    if head.opcode.is_control() {
                        return control_message(head.opcode, control).map(Some);
                    }
                    if head.last
                        && let Some(message) = self.message.take()
                    {
                        let bytes = Bytes::from(message.bytes);
                        return Ok(Some(if message.is_text {
                            Message::Text(bytes)
                        } else {
                            Message::Binary(bytes)
                        }));
                    }
                }
            }
        }
    }

    /// Refuses a frame by its first two bytes.
    fn check(&self, first: u8, second: u8) -> Result<(), Violation> {
        if first & 0x70 != 0 {
            return Err(broken("reserved bits are set"));
        }
        let opcode = Opcode::of(first & 0x0F).ok_or(broken("unknown opcode"))?;
        if second & 0x80 == 0 {
            return Err(broken("frame is not masked"));
        }
        if opcode.is_control() {
            if first & 0x80 == 0 {
                return Err(broken("control frame is fragmented"));
            }
            if usize::from(second & 0x7F) > MAX_CONTROL_BYTES {
                return Err(broken("control frame is too long"));
            }
            return Ok(());
        }
        match (&self.message, opcode) {
            (None, Opcode::Continuation) => Err(broken("continuation of nothing")),
            (Some(_), Opcode::Text | Opcode::Binary) => Err(broken("new message within another")),
            (Some(message), _) if message.fragments >= self.limits.max_fragments => {
                Err(Violation { code: close_code::TOO_BIG, text: "message has too many fragments" })
            }
            _ => Ok(()),
        }
    }

    fn head_of(&self, bytes: &[u8]) -> Result<Head, Violation> {
        let opcode = Opcode::of(bytes[0] & 0x0F).ok_or(broken("unknown opcode"))?;
        let (head, mask) = bytes.split_at(bytes.len() - MASK_BYTES);
        let length = match head[1] & 0x7F {
            short @ 0..=125 => u64::from(short),
            _ => head[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length >> 63 != 0 {
            return Err(broken("length is out of range"));
        }
        let had = self.message.as_ref().map_or(0, |message| message.bytes.len());
        let length = usize::try_from(length).ok().filter(|length| {
            opcode.is_control()
                || had.checked_add(*length).is_some_and(|all| all <= self.limits.max_message_bytes)
        });
        let too_big = Violation { code: close_code::TOO_BIG, text: "message is too big" };
        let mut key = [0; MASK_BYTES];
        key.copy_from_slice(mask);
        Ok(Head { opcode, last: bytes[0] & 0x80 != 0, length: length.ok_or(too_big)?, mask: key })
    }

    fn begin(&mut self, head: Head) {
        if head.opcode.is_control() {
            return;
        }
        let is_text = head.opcode == Opcode::Text;
        let message =
            self.message.get_or_insert(Partial { is_text, bytes: Vec::new(), checked: 0, fragments: 0 });
        message.fragments += 1;
    }
}

impl Partial {
    /// Checks a text as far as it has come. A character may be cut at its end, but not at the message's.
    fn check(&mut self, ends: bool) -> Result<(), Violation> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !ends => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

/// How long a head is, as far as its bytes tell.
fn head_length(bytes: &[u8]) -> usize {
    match bytes.get(1).map(|second| second & 0x7F) {
        None => 2,
        Some(0..=125) => 2 + MASK_BYTES,
        Some(126) => 4 + MASK_BYTES,
        Some(_) => 10 + MASK_BYTES,
    }
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

fn control_message(opcode: Opcode, payload: Vec<u8>) -> Result<Message, Violation> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload.into())),
        Opcode::Pong => Ok(Message::Pong(payload.into())),
        _ => match payload.as_slice() {
            [] => Ok(Message::Close(None)),
            [_] => Err(broken("close code is cut")),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !may_be_received(code) {
                    return Err(broken("close code is not allowed"));
                }
                std::str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
                Ok(Message::Close(Some(code)))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_message_bytes: 1000, max_fragments: 10 };

    /// A client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = super::super::frame::Head::new(Opcode::Text, payload.len()).as_bytes().to_vec();
        frame[0] = first;
        frame[1] |= 0x80;
        let key = [7, 99, 3, 250];
        frame.extend_from_slice(&key);
        let start = frame.len();
        frame.extend_from_slice(payload);
        mask(&mut frame[start..], key, 0);
        frame
    }

    /// What comes of bytes that arrive in parts of a size.
    fn decode(bytes: &[u8], size: usize) -> Result<Vec<Message>, Violation> {
        let mut decoder = Decoder::new(LIMITS);
        let mut messages = Vec::new();
        for mut part in bytes.chunks(size) {
            while let Some(message) = decoder.next(&mut part)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn all_ways(frames: &[Vec<u8>]) -> Result<Vec<Message>, Violation> {
        let bytes = frames.concat();
        let whole = decode(&bytes, usize::MAX);
        for size in [1, 2, 3, 7] {
            assert_eq!(decode(&bytes, size), whole, "in parts of {size}");
        }
        whole
    }

    #[test]
    fn messages_come_whole_however_their_bytes_do() {
        let long = "ñ".repeat(200);
        let frames = [
            frame(0x81, b"hola"),
            frame(0x01, "\u{e9}".as_bytes()),
            frame(0x89, b"ping"),
            frame(0x80, long.as_bytes()),
            frame(0x82, &[0xff; 300]),
            frame(0x81, b""),
            frame(0x8A, b"pong"),
            frame(0x88, &[0x03, 0xE8, b'x']),
        ];
        let messages = all_ways(&frames).unwrap();
        let joined = Bytes::from("\u{e9}".to_owned() + &long);
        assert_eq!(
            messages,
            [
                Message::Text(Bytes::from_static(b"hola")),
                Message::Ping(Bytes::from_static(b"ping")),
                Message::Text(joined),
                Message::Binary(Bytes::from(vec![0xff; 300])),
                Message::Text(Bytes::new()),
                Message::Pong(Bytes::from_static(b"pong")),
                Message::Close(Some(1000)),
            ]
        );
    }

    #[test]
    fn characters_may_be_cut_by_frames() {
        let text = "tango 🕺 argentino".as_bytes();
        for cut in 0..text.len() {
            let frames = [frame(0x01, &text[..cut]), frame(0x80, &text[cut..])];
            assert_eq!(all_ways(&frames).unwrap(), [Message::Text(Bytes::copy_from_slice(text))]);
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let unmasked = vec![0x81, 0x01, b'x'];
        let huge = [&[0x82, 0xFF, 0x80][..], &[0; 7], &[0; 4]].concat();
        for (frames, code) in [
            (vec![frame(0xC1, b"")], 1002),
            (vec![frame(0x91, b"")], 1002),
            (vec![frame(0x83, b"")], 1002),
            (vec![frame(0x8B, b"")], 1002),
            (vec![unmasked], 1002),
            (vec![huge], 1002),
            (vec![frame(0x09, b"")], 1002),
            (vec![frame(0x89, &[0; 126])], 1002),
            (vec![frame(0x80, b"")], 1002),
            (vec![frame(0x00, b"")], 1002),
            (vec![frame(0x01, b""), frame(0x81, b"")], 1002),
            (vec![frame(0x88, &[3])], 1002),
            (vec![frame(0x88, &1005u16.to_be_bytes())], 1002),
            (vec![frame(0x88, &999u16.to_be_bytes())], 1002),
            (vec![frame(0x88, &5000u16.to_be_bytes())], 1002),
            (vec![frame(0x88, &[0x03, 0xE8, 0xff])], 1007),
            (vec![frame(0x81, &[0xff])], 1007),
            (vec![frame(0x81, &[0xC3])], 1007),
            (vec![frame(0x81, &[0xED, 0xA0, 0x80])], 1007),
            (vec![frame(0x01, b"x"), frame(0x80, &[0xff])], 1007),
            (vec![frame(0x82, &[0; 1001])], 1009),
            (vec![frame(0x02, &[0; 600]), frame(0x80, &[0; 600])], 1009),
            (std::iter::once(frame(0x02, b"")).chain(vec![frame(0x00, b""); 10]).collect(), 1009),
        ] {
            assert_eq!(all_ways(&frames).unwrap_err().code, code, "{frames:?}");
        }
    }

    #[test]
    fn a_bad_text_is_refused_before_it_ends() {
        let mut bytes = frame(0x81, &[b"good", &[0xff][..], &[b'x'; 400]].concat());
        bytes.truncate(13 + 4);
        assert_eq!(decode(&bytes, 1).unwrap_err(), NOT_UTF8);
        // The second byte says already that this is no character.
        assert_eq!(decode(&frame(0x01, &[0xF4, 0x90]), 1).unwrap_err(), NOT_UTF8);
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(Limits { max_message_bytes: 1 << 40, max_fragments: 1 });
        let head = [&[0x82, 0xFF][..], &(1u64 << 39).to_be_bytes(), &[0; 4], &[1; 10]].concat();
        assert_eq!(decoder.next(&mut head.as_slice()), Ok(None));
        assert!(decoder.message.as_ref().is_some_and(|message| message.bytes.capacity() < 1024));
    }
}
