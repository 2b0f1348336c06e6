//! Differences give back what they were made of, whatever that was.

use mundotango_protocol::delta::{DeltaError, apply, create, smaller};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

/// Two texts that share much.
fn related() -> impl Strategy<Value = (String, String)> {
    (vec("\\PC{0,20}", 1..30), vec((any::<prop::sample::Index>(), "\\PC{0,12}"), 0..6)).prop_map(
        |(parts, changes)| {
            let source = parts.concat();
            let mut changed = parts;
            for (at, text) in changes {
                let at = at.index(changed.len());
                changed[at] = text;
            }
            (source, changed.concat())
        },
    )
}

proptest! {
    #[test]
    fn bytes_come_back(source in vec(any::<u8>(), 0..300), target in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(apply(&source, &create(&source, &target), LIMIT), Ok(target));
    }

    #[test]
    fn texts_come_back_and_their_differences_are_texts((source, target) in related()) {
        let delta = create(source.as_bytes(), target.as_bytes());
        prop_assert!(std::str::from_utf8(&delta).is_ok());
        prop_assert_eq!(apply(source.as_bytes(), &delta, LIMIT), Ok(target.clone().into_bytes()));
        if let Some(delta) = smaller(source.as_bytes(), target.as_bytes()) {
            prop_assert!(delta.len() < target.len());
        }
    }

    #[test]
    fn any_bytes_are_a_delta_or_an_error(source in vec(any::<u8>(), 0..100), delta in vec(any::<u8>(), 0..100)) {
        match apply(&source, &delta, 1000) {
            Ok(target) => prop_assert!(target.len() <= 1000),
            Err(DeltaError::Malformed | DeltaError::OutOfBounds | DeltaError::Checksum) => {}
        }
    }
}
