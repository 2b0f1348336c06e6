//! The form of a page's path: what names one thing or one person is cut out, so that pages of one form are
//! counted together and no id is kept.

/// Parts of a path that are kept.
const MAX_PARTS: usize = 8;
/// A longer part is a title or a token, and no name of a page.
const MAX_PART: usize = 32;
/// Hexadecimal digits from which on a part is an id.
const HEX_ID: usize = 12;

/// The form of a path, such as `/posts/:id`. Query and fragment go; `/` for what is no path.
pub(super) fn form_of(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let mut form = String::new();
    for part in parts.by_ref().take(MAX_PARTS) {
        form.push('/');
        form.push_str(part_of(part));
    }
    if parts.next().is_some() {
        form.push_str("/…");
    }
    if form.is_empty() { "/".to_owned() } else { form }
}

fn part_of(part: &str) -> &str {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':');
    let digits = part.chars().filter(char::is_ascii_digit).count();
    let is_hex = part.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-');
    let is_id = digits == part.len()
        || (is_hex && part.len() >= HEX_ID)
        // Names of pages have few digits; slugs that end with a number, dates and short tokens have many.
        || digits >= 4
        || !part.chars().all(is_plain)
        || part.len() > MAX_PART;
    if is_id { ":id" } else { part }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_cut_out_and_names_are_kept() {
        for (path, form) in [
            ("/", "/"),
            ("", "/"),
            ("/posts", "/posts"),
            ("/posts/", "/posts"),
            ("/posts/019ab2d4-6c00-7000-8000-000000000000/edit", "/posts/:id/edit"),
            ("/users/42", "/users/:id"),
            ("/users/ana@example.com", "/users/:id"),
            ("/events/2026-12-04", "/events/:id"),
            ("/a/deadbeefdeadbeef", "/a/:id"),
            ("/search?q=my+secret#top", "/search"),
            ("/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9", "/reset/:id"),
            ("/posts/:id", "/posts/:id"),
            ("/v2/life-ceo/chat", "/v2/life-ceo/chat"),
            ("/städte/köln", "/:id/:id"),
            ("/1/2/3/4/5/6/7/8/9", "/:id/:id/:id/:id/:id/:id/:id/:id/…"),
        ] {
            assert_eq!(form_of(path), form, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_short_and_is_its_own_form(path in "[ -~é/]{0,300}") {
            let form = form_of(&path);
            prop_assert!(form.len() <= MAX_PARTS * (MAX_PART + 1) + "/…".len());
            prop_assert!(!form.contains(['?', '#', '@', ' ', '(']));
            if !form.ends_with('…') {
                prop_assert_eq!(form_of(&form), form);
            }
        }
    }
}
