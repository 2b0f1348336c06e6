//! Fossil deltas: a publication as the difference to the one before it.
//!
//! A delta is `<length>\n`, then commands, then `<checksum>;`. A command copies `<length>@<offset>,` from the source or
//! inserts `<length>:<bytes>`. Numbers are in base 64 with the digits `0-9A-Z_a-z~`. The format is Fossil SCM's
//! ("The Fossil Delta Format"), whose windows of 16 bytes are found here by their hashes.
//!
//! JSON connections carry a delta as text, so no command ends within a character where both texts are UTF-8.

use std::collections::HashMap;

/// Length of the pieces of the source that are looked for in the target; shorter matches are not found.
const WINDOW: usize = 16;
/// Most places of the source that are compared with one place of the target, so that a repetitive source costs no more
/// than another.
const MAX_CANDIDATES: usize = 8;
/// Bytes compared for each byte of source and target. Then the rest of the target is inserted as it is, so no payload
/// makes the encoder slow.
const STEPS_PER_BYTE: usize = 16;
/// Most continuation bytes of one UTF-8 character.
const MAX_CONTINUATION: usize = 3;
/// The digits of numbers.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// Why a delta cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The bytes do not have the form of a delta.
    #[error("malformed delta")]
    Malformed,
    /// The delta copies from outside the source, or makes more bytes than its header says.
    #[error("delta reaches out of bounds")]
    OutOfBounds,
    /// The checksum does not fit: the delta was made for another source.
    #[error("delta is for another source")]
    Checksum,
}

/// The delta that makes `target` from `source`. It may be longer than the target; see [`smaller`].
pub fn create(source: &[u8], target: &[u8]) -> Vec<u8> {
    create_counted(source, target).0
}

/// The delta, and how many bytes were compared for it.
fn create_counted(source: &[u8], target: &[u8]) -> (Vec<u8>, usize) {
    let most_steps = STEPS_PER_BYTE * (source.len() + target.len());
    let mut steps = 0;
    let mut delta = Vec::with_capacity(64);
    put_number(&mut delta, target.len());
    delta.push(b'\n');
    let windows = windows_of(source);
    // The part of the target from `pending` to `at` is not written yet.
    let mut pending = 0;
    let mut at = 0;
    while let Some(window) = target.get(at..at + WINDOW)
        && steps < most_steps
    {
        let candidates = windows.get(window).map(Vec::as_slice).unwrap_or_default();
        let matches = candidates.iter().map(|&start| Match::grow(source, target, start, at, pending));
        let best = matches.inspect(|found| steps += found.length).max_by_key(|found| found.length);
        match best.map(|found| found.within_characters(target)).filter(|found| found.length >= WINDOW) {
            Some(found) => {
                put_insert(&mut delta, &target[pending..found.target]);
                put_number(&mut delta, found.length);
                delta.push(b'@');
                put_number(&mut delta, found.source);
                delta.push(b',');
                pending = found.target + found.length;
                at = pending;
            }
            None => at += 1,
        }
    }
    put_insert(&mut delta, &target[pending..]);
    put_number(&mut delta, checksum(target) as usize);
    delta.push(b';');
    (delta, steps)
}

/// The delta, if it is smaller than the target itself.
pub fn smaller(source: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let delta = create(source, target);
    (delta.len() < target.len()).then_some(delta)
}

/// Makes the target of a delta; of at most `limit` bytes, as a few bytes of delta can ask for many.
pub fn apply(source: &[u8], delta: &[u8], limit: usize) -> Result<Vec<u8>, DeltaError> {
    let mut rest = delta;
    let length = take_number(&mut rest)?;
    if take(&mut rest)? != b'\n' {
        return Err(DeltaError::Malformed);
    }
    if length > limit {
        return Err(DeltaError::OutOfBounds);
    }
    let mut target = Vec::with_capacity(length);
    loop {
        let number = take_number(&mut rest)?;
        match take(&mut rest)? {
            b'@' => {
                let from = take_number(&mut rest)?;
                if take(&mut rest)? != b',' {
                    return Err(DeltaError::Malformed);
                }
                let end = from.checked_add(number).ok_or(DeltaError::OutOfBounds)?;
                target.extend_from_slice(source.get(from..end).ok_or(DeltaError::OutOfBounds)?);
            }
            b':' => {
                let (bytes, after) = rest.split_at_checked(number).ok_or(DeltaError::OutOfBounds)?;
                target.extend_from_slice(bytes);
                rest = after;
            }
            b';' if !rest.is_empty() => return Err(DeltaError::Malformed),
            b';' if target.len() != length => return Err(DeltaError::OutOfBounds),
            b';' if number != checksum(&target) as usize => return Err(DeltaError::Checksum),
            b';' => return Ok(target),
            _ => return Err(DeltaError::Malformed),
        }
        if target.len() > length {
            return Err(DeltaError::OutOfBounds);
        }
    }
}

/// A part of the target that is in the source too.
#[derive(Clone, Copy)]
struct Match {
    source: usize,
    target: usize,
    length: usize,
}

impl Match {
    /// The longest match around two equal windows, not before `from` in the target.
    fn grow(source: &[u8], target: &[u8], start: usize, at: usize, from: usize) -> Self {
        let ahead = source[start..].iter().zip(&target[at..]).take_while(|(a, b)| a == b).count();
        let behind = source[..start].iter().rev().zip(target[from..at].iter().rev());
        let behind = behind.take_while(|(a, b)| a == b).count();
        Self { source: start - behind, target: at - behind, length: ahead + behind }
    }

    /// Cuts off the ends that lie within a UTF-8 character. More continuation bytes in a row than a character has are no
    /// text, and nothing is cut.
    fn within_characters(self, target: &[u8]) -> Self {
        let continues = |at: usize| target.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
        let end = self.target + self.length;
        let most = self.length.min(MAX_CONTINUATION + 1);
        let head = (0..most).take_while(|&cut| continues(self.target + cut)).count();
        let tail = (0..most).take_while(|&cut| continues(end - cut)).count();
        if head > MAX_CONTINUATION || tail > MAX_CONTINUATION {
            return self;
        }
        let length = self.length.saturating_sub(head + tail);
        Self { source: self.source + head, target: self.target + head, length }
    }
}

/// The first places of each window in the source; windows do not overlap.
fn windows_of(source: &[u8]) -> HashMap<&[u8], Vec<usize>> {
    let mut windows: HashMap<&[u8], Vec<usize>> = HashMap::with_capacity(source.len() / WINDOW);
    for (index, window) in source.chunks_exact(WINDOW).enumerate() {
        let places = windows.entry(window).or_default();
        if places.len() < MAX_CANDIDATES {
            places.push(index * WINDOW);
        }
    }
    windows
}

/// The sum of the target's big-endian words of 32 bits, the last one filled up with zeros.
fn checksum(target: &[u8]) -> u32 {
    target
        .chunks(4)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_be_bytes(word)
        })
        .fold(0, u32::wrapping_add)
}

fn put_insert(delta: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_number(delta, bytes.len());
        delta.push(b':');
        delta.extend_from_slice(bytes);
    }
}

fn put_number(delta: &mut Vec<u8>, mut number: usize) {
    let start = delta.len();
    loop {
        delta.push(DIGITS[number % 64]);
        number /= 64;
        if number == 0 {
            break;
        }
    }
    delta[start..].reverse();
}

fn take(rest: &mut &[u8]) -> Result<u8, DeltaError> {
    let (first, after) = rest.split_first().ok_or(DeltaError::Malformed)?;
    *rest = after;
    Ok(*first)
}

fn take_number(rest: &mut &[u8]) -> Result<usize, DeltaError> {
    let mut number: usize = 0;
    let mut digits = 0;
    while let Some(digit) = rest.first().and_then(|byte| DIGITS.iter().position(|digit| digit == byte)) {
        number = number
            .checked_mul(64)
            .and_then(|number| number.checked_add(digit))
            .ok_or(DeltaError::Malformed)?;
        *rest = &rest[1..];
        digits += 1;
    }
    if digits == 0 { Err(DeltaError::Malformed) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn a_delta_holds_for_its_source_alone() {
        let source = br#"{"a":"0123456789012345678901234567890123456789","n":1}"#;
        let target = br#"{"a":"0123456789012345678901234567890123456789","n":2}"#;
        let delta = create(source, target);
        assert!(delta.len() < target.len());
        assert_eq!(apply(source, &delta, LIMIT).unwrap(), target);
        let another = br#"{"a":"0123456789012345678901234567890123456780","n":1}"#;
        assert_eq!(apply(another, &delta, LIMIT), Err(DeltaError::Checksum));
    }

    #[test]
    fn numbers_have_the_digits_of_fossil() {
        let mut text = Vec::new();
        for number in [0, 9, 10, 36, 63, 64, 4095, 4096] {
            put_number(&mut text, number);
            text.push(b' ');
        }
        assert_eq!(String::from_utf8(text).unwrap(), "0 9 A _ ~ 10 ~~ 100 ");
        assert_eq!(checksum(b"\x00\x00\x00\x01\x02"), 0x0200_0001);
    }

    #[test]
    fn texts_stay_texts() {
        // Characters of two bytes that share the first: a match could end between them.
        let source = "á".repeat(40) + "é" + &"ñ".repeat(30);
        let target = "á".repeat(40) + "ë" + &"ñ".repeat(30);
        let delta = create(source.as_bytes(), target.as_bytes());
        std::str::from_utf8(&delta).unwrap();
        assert_eq!(apply(source.as_bytes(), &delta, LIMIT).unwrap(), target.as_bytes());
    }

    /// Pairs of payloads of `length` bytes, made to cost as much as possible.
    fn costly(length: usize) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let repeat = |pattern: &[u8]| -> Vec<u8> { pattern.iter().copied().cycle().take(length).collect() };
        let noise = |seed: u32| -> Vec<u8> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            };
            (0..length).map(|_| next()).collect()
        };
        let continuation = repeat(b"\x80");
        let mut ends_in_text = continuation.clone();
        ends_in_text[length - 1] = b'a';
        // Each window of the target is in the source, between the bytes of a character.
        let trimmed = repeat("€aaaaaaaaaaaaa".as_bytes());
        let mut shifted = trimmed.clone();
        shifted.rotate_left(1);
        let accents = repeat("á".as_bytes());
        let one_in_32 = repeat(&[[0; 31].as_slice(), &[1]].concat());
        vec![
            ("continuation bytes", continuation.clone(), continuation.clone()),
            ("continuation bytes, then text", continuation.clone(), ends_in_text),
            ("continuation bytes in threes", repeat(b"\x80\x80\x80a"), repeat(b"\x80\x80\x80a\x80")),
            ("zeros", vec![0; length], vec![0; length]),
            ("zeros and ones", vec![0; length], one_in_32),
            ("text", repeat(b"a"), repeat(b"a")),
            ("text of two bytes a character", accents.clone(), accents),
            ("windows within characters", trimmed, shifted),
            ("noise", noise(1), noise(2)),
            ("the same noise", noise(1), noise(1)),
            ("two continuation bytes", noise(3).iter().map(|byte| 0x80 | (byte & 1)).collect(), continuation),
        ]
    }

    #[test]
    fn the_work_grows_with_the_payload_alone() {
        for (name, source, target) in costly(64 * 1024) {
            let (delta, steps) = create_counted(&source, &target);
            // The last place may go past the bound by what its candidates cost.
            let most = STEPS_PER_BYTE * (source.len() + target.len()) + MAX_CANDIDATES * target.len();
            assert!(steps <= most, "{name}: {steps} bytes compared");
            assert_eq!(apply(&source, &delta, LIMIT).as_ref(), Ok(&target), "{name}");
        }
    }

    #[test]
    fn equal_payloads_are_one_copy_whatever_their_bytes() {
        for (name, source, target) in costly(4096) {
            if source == target {
                let delta = create(&source, &target);
                assert!(delta.len() < 32, "{name}: {} bytes", delta.len());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_delta() {
        for (delta, error) in [
            (&b""[..], DeltaError::Malformed),
            (b"3", DeltaError::Malformed),
            (b"3\n3@0;", DeltaError::Malformed),
            (b"3\n3@9,0;", DeltaError::OutOfBounds),
            (b"3\n9:abc0;", DeltaError::OutOfBounds),
            (b"3\n4:abcd0;", DeltaError::OutOfBounds),
            (b"~~~~\n0;", DeltaError::OutOfBounds),
            (b"~~~~~~~~~~~~\n0;", DeltaError::Malformed),
            (b"3\n3:abc0;", DeltaError::Checksum),
        ] {
            assert_eq!(apply(b"abc", delta, LIMIT), Err(error), "{}", String::from_utf8_lossy(delta));
        }
    }
}
