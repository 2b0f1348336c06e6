//! The characters of a page, which may be written in any of a hundred ways.

use mail_parser::decoders::charsets::map::charset_decoder;

/// How many bytes of a page may say how it is written (HTML, "determining the character encoding").
const DECLARED_WITHIN: usize = 1_024;
/// How a page is read that does not say how it is written, and is no UTF-8.
const FALLBACK: &str = "windows-1252";

/// The text of a page, where its header may say how it is written. What cannot be read becomes U+FFFD.
pub(super) fn decoded(body: &[u8], told: Option<&str>) -> String {
    if let Some(marked) = body.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(marked).into_owned();
    }
    let label = told.map(str::to_owned).or_else(|| declared(body));
    let label = label.or_else(|| (!is_utf8(body)).then(|| FALLBACK.to_owned()));
    match label.and_then(|label| charset_decoder(label.as_bytes())) {
        Some(decode) => decode(body),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Whether it is UTF-8, of which the last character may be cut off.
fn is_utf8(body: &[u8]) -> bool {
    let Err(error) = std::str::from_utf8(body) else { return true };
    error.error_len().is_none() && !body[..error.valid_up_to()].is_ascii()
}

/// How a page says itself that it is written: `<meta charset="…">` and its older form have the same word.
fn declared(body: &[u8]) -> Option<String> {
    const WORD: &[u8] = b"charset=";
    let head = &body[..body.len().min(DECLARED_WITHIN)];
    let at = head.windows(WORD.len()).position(|word| word.eq_ignore_ascii_case(WORD))?;
    let label = head[at + WORD.len()..].iter().skip_while(|byte| matches!(byte, b'"' | b'\'' | b' '));
    let is_of_it = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    let label: String = label.take_while(is_of_it).map(|byte| char::from(*byte)).collect();
    // A page of which this could be read is not written in two bytes a character.
    (!label.is_empty() && !label.to_ascii_lowercase().starts_with("utf-16")).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_its_header_or_itself_says() {
        let pages: [(&[u8], Option<&str>, &str); 10] = [
            (b"Milonga ol\xc3\xa9", None, "Milonga olé"),
            (b"Milonga ol\xe9", None, "Milonga olé"),
            (b"Milonga ol\xc3\xa9", Some("utf-8"), "Milonga olé"),
            (b"Milonga ol\xe9", Some("ISO-8859-1"), "Milonga olé"),
            (b"\xcc\xe8\xeb\xee\xed\xe3\xe0", Some("windows-1251"), "Милонга"),
            (b"\xef\xbb\xbfol\xc3\xa9", Some("windows-1251"), "olé"),
            (b"M\0i\0", Some("utf-16le"), "Mi"),
            (b"ol\xc3\xa9, cut off \xc3", None, "olé, cut off \u{fffd}"),
            (b"ol\xc3\xa9", Some("no such charset"), "olé"),
            (b"ol\xe9", Some("utf-8"), "ol\u{fffd}"),
        ];
        for (body, told, text) in pages {
            assert_eq!(decoded(body, told), text, "{told:?}");
        }
        let page = b"<meta charset=\"windows-1251\"><title>\xcc\xe8</title>";
        assert!(decoded(page, None).ends_with("<title>Ми</title>"));
        let page = b"<META http-equiv=Content-Type content='text/html; CHARSET=iso-8859-2'>\xb1";
        assert!(decoded(page, None).ends_with('ą'));
        let late = [&[b' '; DECLARED_WITHIN][..], b"<meta charset=windows-1251>\xe9"].concat();
        assert!(decoded(&late, None).ends_with('é'), "what is said too late is not looked for");
    }
}
