//! WebSocket frames as a server writes them, and their codes (RFC 6455, 5.2 and 7.4).

/// Largest head of a server's frame, in bytes: its frames are not masked.
pub(super) const MAX_HEAD_BYTES: usize = 10;
/// Largest payload of a control frame, in bytes.
pub(super) const MAX_CONTROL_BYTES: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == byte)
    }

    pub(super) fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// Why a connection is closed, beside the protocol's own codes (RFC 6455, 7.4.1).
pub mod close_code {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// The peer broke the framing.
    pub const PROTOCOL: u16 = 1002;
    /// A text was not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// The client does what it may not.
    pub const POLICY: u16 = 1008;
    /// A message was too large.
    pub const TOO_BIG: u16 = 1009;
}

/// Whether a peer may close with a code (RFC 6455, 7.4, and IANA's registry).
pub(super) fn may_be_received(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The head of a whole message in one frame.
pub(super) struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    length: usize,
}

impl Head {
    pub(super) fn new(opcode: Opcode, payload: usize) -> Self {
        let mut bytes = [0; MAX_HEAD_BYTES];
        bytes[0] = 0x80 | opcode as u8;
        let length = match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short @ 0..=125), _) => {
                bytes[1] = short;
                2
            }
            (_, Ok(middle)) => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&middle.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Takes a mask off, or puts it on. `at` is the payload's place from which `bytes` is.
pub(super) fn mask(bytes: &mut [u8], mask: [u8; 4], at: usize) {
    let mut turned = mask;
    turned.rotate_left(at % 4);
    let wide = u64::from_ne_bytes([
        turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3],
    ]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(turned.into_iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_as_short_as_they_may_be() {
        let head = |payload| Head::new(Opcode::Text, payload).as_bytes().to_vec();
        assert_eq!(head(0), [0x81, 0]);
        assert_eq!(head(125), [0x81, 125]);
        assert_eq!(head(126), [0x81, 126, 0, 126]);
        assert_eq!(head(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(head(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn masking_in_parts_is_masking_at_once() {
        let key = [1, 2, 3, 4];
        let text: Vec<u8> = (0..100).collect();
        let mut whole = text.clone();
        mask(&mut whole, key, 0);
        for cut in [1, 3, 4, 9, 50] {
            let mut parts = text.clone();
            let (first, second) = parts.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            assert_eq!(parts, whole);
        }
        mask(&mut whole, key, 0);
        assert_eq!(whole, text);
    }
}
