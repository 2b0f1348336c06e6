//! Whom and what a text names: `@username` and `#hashtag`, found in one pass over it.
//!
//! A hashtag is compared by its key: compatibility forms and case are folded, and nothing else is, so that ä stays another letter
//! than a, and marks stay where they are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::texts::Username;

/// Most characters of a hashtag without its sign.
pub(in crate::community) const LONGEST_TAG: usize = 50;
/// Hashtags of a text that lead to it; those behind them are text.
pub(in crate::community) const MOST_TAGS: usize = 30;

/// What a part of a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::community) enum EntityKind {
    /// A user.
    Mention,
    /// A subject.
    Hashtag,
}

/// A part of a text that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::community) struct Entity {
    pub(in crate::community) kind: EntityKind,
    /// The user name in lower case, or the hashtag's key.
    pub(in crate::community) key: String,
    /// Where it begins with its sign, in UTF-16 code units.
    pub(in crate::community) start: usize,
    /// Where it ends, in the same.
    pub(in crate::community) end: usize,
}

/// What a text names, in its order. Each character is looked at once.
pub(in crate::community) fn entities(text: &str) -> Vec<Entity> {
    let (mut found, mut tags) = (Vec::new(), BTreeSet::new());
    let (mut rest, mut units, mut before) = (text, 0, None);
    while let Some(sign) = rest.chars().next() {
        let (start, behind) = (units, &rest[sign.len_utf8()..]);
        let run = match sign {
            '@' => &behind[..run_of(behind, is_of_name)],
            '#' | '＃' => &behind[..run_of(behind, is_of_tag)],
            _ => "",
        };
        let entity = match sign {
            _ if before.is_some_and(joins) => None,
            '@' => mention(run, behind[run.len()..].chars().next())
                .map(|name| (EntityKind::Mention, name.len(), name.to_lowercase())),
            '#' | '＃' => tag_key(run).map(|key| (EntityKind::Hashtag, units_of(run), key)),
            _ => None,
        };
        if let Some((kind, length, key)) = entity {
            let is_taken = kind == EntityKind::Mention || tags.contains(&key) || tags.len() < MOST_TAGS;
            if is_taken {
                if kind == EntityKind::Hashtag {
                    tags.insert(key.clone());
                }
                found.push(Entity { kind, key, start, end: start + sign.len_utf16() + length });
            }
        }
        units += sign.len_utf16() + units_of(run);
        before = Some(run.chars().next_back().unwrap_or(sign));
        rest = &behind[run.len()..];
    }
    found
}

/// The keys of the hashtags of a text.
pub(in crate::community) fn tags_of(text: &str) -> BTreeSet<String> {
    let tags = entities(text).into_iter().filter(|entity| entity.kind == EntityKind::Hashtag);
    tags.map(|entity| entity.key).collect()
}

/// The user names that a text mentions, in lower case.
pub(in crate::community) fn names_of(text: &str) -> BTreeSet<String> {
    let mentions = entities(text).into_iter().filter(|entity| entity.kind == EntityKind::Mention);
    mentions.map(|entity| entity.key).collect()
}

/// The key of a hashtag without its sign; `None` for what is none.
pub(in crate::community) fn tag_key(tag: &str) -> Option<String> {
    // Some single characters stand for whole sentences, so the key is looked at as well.
    let fits = |text: &str| {
        text.chars().any(char::is_alphabetic)
            && text.chars().take(LONGEST_TAG + 1).count() <= LONGEST_TAG
            && run_of(text, is_of_tag) == text.len()
    };
    if !fits(tag) {
        return None;
    }
    // Folding may leave forms that are normalized once more.
    let once: String = tag.nfkc().flat_map(fold).nfkc().collect();
    let key: String = once.chars().flat_map(fold).nfkc().collect();
    fits(&key).then_some(key)
}

/// The full case folding of a character (Unicode, CaseFolding.txt, C and F). It is what lower case, upper case and lower case
/// again come to, but of the Turkish letter ı, which is its own.
fn fold(character: char) -> impl Iterator<Item = char> {
    let upper = move |lower: char| if lower == 'ı' { vec![lower] } else { lower.to_uppercase().collect() };
    character.to_lowercase().flat_map(upper).flat_map(char::to_lowercase)
}

/// The user name that a run of characters behind a sign is: what ends a sentence is none of it.
fn mention(run: &str, next: Option<char>) -> Option<&str> {
    let name = run.trim_end_matches(['.', '-']);
    let goes_on = name.len() == run.len() && next.is_some_and(joins);
    let fits = (Username::MIN_CHARACTERS..=Username::MAX_CHARACTERS).contains(&name.len())
        && name.bytes().any(|byte| byte.is_ascii_alphanumeric());
    (fits && !goes_on).then_some(name)
}

fn run_of(text: &str, is_of_it: fn(char) -> bool) -> usize {
    text.find(|character| !is_of_it(character)).unwrap_or(text.len())
}

fn units_of(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

/// Letters, numbers and marks of all scripts, and what joins letters in some of them.
fn is_of_tag(character: char) -> bool {
    character.is_alphanumeric() || is_mark(character) || matches!(character, '_' | '\u{200c}' | '\u{200d}')
}

fn is_mark(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Mark
}

/// Whether a sign behind this character is a part of something else: an address of mail or of a page, another sign.
fn joins(character: char) -> bool {
    character.is_alphanumeric()
        || is_mark(character)
        || matches!(character, '_' | '@' | '#' | '＃' | '&' | '/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        let sign = |kind| if kind == EntityKind::Mention { '@' } else { '#' };
        entities(text).into_iter().map(|one| format!("{}{}", sign(one.kind), one.key)).collect()
    }

    #[test]
    fn names_and_tags_are_found_where_people_write_them() {
        let too_long = format!("@{} #{}", "a".repeat(31), "a".repeat(51));
        for (text, wanted) in [
            ("@Ana, @ben.cruz! #Tango", &["@ana", "@ben.cruz", "#tango"][..]),
            ("(@ana) ¡#milonga!", &["@ana", "#milonga"]),
            ("see you, @ana. Or @ana-.", &["@ana", "@ana"]),
            ("ana@example.com https://x.org/@ana https://x.org/#top a#b", &[]),
            ("@an @anañ @ana@x.org @@ana ##tango &#233; #1 #", &[]),
            (too_long.as_str(), &[]),
            ("#2x4 #tango_vals #نمی\u{200c}خواهم", &["#2x4", "#tango_vals", "#نمی\u{200c}خواهم"]),
        ] {
            assert_eq!(found(text), wanted, "{text}");
        }
        let many = (0..40).map(|number| format!("#tag{number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(
            found(&format!("{many} #tag0 @ana")).len(),
            MOST_TAGS + 2,
            "one that is known leads nowhere new"
        );
    }

    #[test]
    fn tags_are_one_where_readers_take_them_for_one() {
        let key = |tag: &str| tag_key(tag).unwrap();
        for (same, as_this) in [
            ("ＴＡＮＧＯ", "tango"),
            ("\u{212b}rhus", "århus"),
            ("A\u{30a}rhus", "århus"),
            ("STRASSE", "straße"),
            ("STRAẞE", "straße"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ﬁesta", "fiesta"),
        ] {
            assert_eq!(key(same), key(as_this), "{same}");
        }
        for (one, other) in [("fräulein", "fraulein"), ("ısı", "isi"), ("ไม้", "ไม"), ("peña", "pena")]
        {
            assert_ne!(key(one), key(other), "{one}");
        }
        assert_eq!(tag_key("a b"), None);
        assert_eq!(tag_key("1984"), None);
    }

    proptest! {
        #[test]
        fn ranges_are_of_the_text_and_in_its_order(text in "[@#＃a-cB .ñÅ😀_/\u{301}\u{200d}-]{0,60}|\\PC{0,40}") {
            let units: Vec<u16> = text.encode_utf16().collect();
            let mut behind = 0;
            for entity in entities(&text) {
                prop_assert!(behind <= entity.start && entity.start < entity.end && entity.end <= units.len());
                behind = entity.end;
                let written = String::from_utf16(&units[entity.start..entity.end]).unwrap();
                let mut written = written.chars();
                let sign = written.next();
                match entity.kind {
                    EntityKind::Mention => {
                        prop_assert_eq!(sign, Some('@'));
                        prop_assert_eq!(written.as_str().to_lowercase(), entity.key);
                    }
                    EntityKind::Hashtag => {
                        prop_assert!(matches!(sign, Some('#' | '＃')));
                        prop_assert_eq!(tag_key(written.as_str()), Some(entity.key.clone()));
                        let again = tag_key(&entity.key);
                        prop_assert_eq!(again, Some(entity.key), "a key is its own");
                    }
                }
            }
        }

        #[test]
        fn what_stands_alone_is_found_in_any_sentence(before in "[a-z ,]{0,20} ", name in "[a-z0-9]{3,30}", tag in "[a-zñéß][a-zñéß0-9]{0,20}") {
            let text = format!("{before}@{name}, #{tag}!");
            prop_assert_eq!(found(&text), [format!("@{name}"), format!("#{}", tag_key(&tag).unwrap())]);
        }
    }
}
