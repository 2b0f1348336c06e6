//! Keys that sort as their parts do.

/// Stands between parts. No id, name or address holds it, so no key is the beginning of another's part.
const SEPARATOR: u8 = 0;

/// A key of text parts, sorted by the first, then the second, and so on.
pub(super) fn join(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// What all keys below these parts begin with.
pub(super) fn below(parts: &[&str]) -> Vec<u8> {
    let mut prefix = join(parts);
    prefix.push(SEPARATOR);
    prefix
}

/// The first key behind all that begin with a prefix. The prefix is one of [`below`], so it does not end at the last byte
/// there is.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// A key below `parts` that sorts by a number.
pub(super) fn numbered(parts: &[&str], number: u64) -> Vec<u8> {
    let mut key = below(parts);
    key.extend(number.to_be_bytes());
    key
}

/// A key that sorts by a time in milliseconds, then by an id.
pub(super) fn timed(millis: i64, id: &str) -> Vec<u8> {
    let mut key = sortable(millis).to_vec();
    key.extend(id.as_bytes());
    key
}

/// The bytes of a signed number that sort as it does.
fn sortable(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joined_keys_sort_as_their_parts(a in "[a-c]{0,3}", b in "[a-c]{0,3}", c in "[a-c]{0,3}", d in "[a-c]{0,3}") {
            prop_assert_eq!(join(&[&a, &b]).cmp(&join(&[&c, &d])), (&a, &b).cmp(&(&c, &d)));
            prop_assert_eq!(join(&[&a, &b]).starts_with(&below(&[&c])), a == c);
        }

        #[test]
        fn timed_keys_sort_by_time(a: i64, b: i64, id in "[a-z]{1,4}") {
            prop_assert_eq!(timed(a, &id).cmp(&timed(b, &id)), a.cmp(&b));
        }

        #[test]
        fn numbered_keys_sort_by_number(a: u64, b: u64) {
            prop_assert_eq!(numbered(&["x"], a).cmp(&numbered(&["x"], b)), a.cmp(&b));
        }
    }
}
