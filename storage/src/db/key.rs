//! Keys of rows: text parts that sort part by part.

use std::fmt::Write as _;

/// Stands between the parts of a key.
const SEPARATOR: char = '/';
/// Stands before the code of a character that a part may not hold as it is.
const ESCAPE: char = '%';

/// A key below a prefix of parts. Parts may hold any text: what would be taken for a separator is escaped, so that two
/// lists of parts never make one key, and no key begins with another's part.
pub fn key(parts: &[&str]) -> String {
    let mut key = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        escape(part, &mut key);
    }
    key
}

/// What all keys below these parts begin with.
pub fn prefix(parts: &[&str]) -> String {
    let mut prefix = key(parts);
    prefix.push(SEPARATOR);
    prefix
}

/// A number as a part that sorts as the number does.
pub fn number(number: u64) -> String {
    // 20 digits are the longest number that there is.
    format!("{number:020}")
}

/// The shard of a text among so many: FNV-1a, as it has to be the same in every version, and no more than even.
pub fn shard_of(text: &str, shards: u64) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % shards.max(1)
}

/// The last part of a key, as it was given to [`key`].
pub fn last_part(key: &str) -> String {
    let part = key.rsplit(SEPARATOR).next().unwrap_or_default();
    let mut pieces = part.split(ESCAPE);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                text.push_str(&piece[2..]);
            }
            None => text.push_str(piece),
        }
    }
    text
}

/// The first text behind all that begin with a prefix of [`prefix`].
pub fn behind(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    end.pop();
    // The separator's successor: '0' comes right after '/'.
    end.push('0');
    end
}

fn escape(part: &str, key: &mut String) {
    let is_plain = |byte: u8| byte != b'/' && byte != b'%' && !byte.is_ascii_control();
    if part.bytes().all(is_plain) {
        key.push_str(part);
        return;
    }
    for c in part.chars() {
        if c == SEPARATOR || c == ESCAPE || c.is_ascii_control() {
            let _ = write!(key, "{ESCAPE}{:02x}", u32::from(c));
        } else {
            key.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_lists_of_parts_make_two_keys(a in prop::collection::vec("[a/%\u{0}]{0,3}", 1..3), b in prop::collection::vec("[a/%\u{0}]{0,3}", 1..3)) {
            let of = |parts: &[String]| key(&parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }

        #[test]
        fn the_last_part_comes_back(part in "[a/%\u{0}\u{7f}é]{0,8}") {
            prop_assert_eq!(last_part(&key(&["x", &part])), part);
        }

        #[test]
        fn keys_below_a_prefix_lie_before_what_is_behind(a in "[a-c/]{0,3}", b in "[a-c/]{0,3}", c in "[a-c/]{0,3}") {
            let (key, below) = (key(&[&a, &b]), prefix(&[&c]));
            let is_below = key >= below && key < behind(&below);
            prop_assert_eq!(is_below, a == c);
        }

        #[test]
        fn shards_are_within_their_number(text in "[a-z]{0,8}", shards in 0..20_u64) {
            prop_assert!(shard_of(&text, shards) < shards.max(1));
        }

        #[test]
        fn numbers_sort_as_numbers(a: u64, b: u64) {
            prop_assert_eq!(number(a).cmp(&number(b)), a.cmp(&b));
        }
    }

    #[test]
    fn shards_stay_what_they_were() {
        assert_eq!(shard_of("", 16), 5);
        let used: std::collections::BTreeSet<_> = (0..200).map(|id| shard_of(&id.to_string(), 16)).collect();
        assert_eq!(used.len(), 16);
    }
}
