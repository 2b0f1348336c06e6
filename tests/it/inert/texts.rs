//! Texts that did harm somewhere, or looked like another one.

use unicode_normalization::UnicodeNormalization as _;

/// Texts, each of another kind.
pub const TEXTS: &[&str] = &[
    // Elements and attributes of pages.
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></textarea></script><svg/onload=alert(1)>",
    "<!-- x --><![CDATA[ x ]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<a href=\"jav\tascript:alert(1)\">x</a>",
    // Addresses, templates and marked-up text.
    "javascript:alert(1)//",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "[x](javascript:alert(1)) ![x](x\"onerror=\"alert(1))",
    "{{constructor.constructor('alert(1)')()}}",
    "${7*7} #{7*7} <%= 7*7 %> {% x %}",
    "=HYPERLINK(\"https://a.example\";\"x\")",
    // Lines of letters, headers and calendars.
    "x\r\nBcc: victim@example.com",
    "x\nBcc: victim@example.com\n\nx",
    "x\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nSUMMARY:y",
    "x%0d%0aSet-Cookie: a=b",
    "x; CN=\"y\", \\z \\n",
    "\u{2028}x\u{2029}y\u{85}z",
    // What cannot be seen, or turns others round.
    "\u{200b}",
    "\u{3164}\u{feff}\u{00ad}",
    "a\u{200b}n\u{200d}a",
    "\u{202e}gnp.exe",
    "\u{2066}x\u{2069} y",
    "x\u{0}y",
    "x\u{7}y\u{1b}[31m",
    // Other spellings of the same, and of what looks the same.
    "cafe\u{301} A\u{30a}",
    "\u{430}n\u{430} \u{ff21}na",
    "Z\u{351}\u{36b}\u{343}\u{36a}\u{302}\u{36b}a\u{310}\u{300}\u{301}lgo",
    "مرحبا بالعالم ١٢٣",
    // Characters of several code points.
    "👩\u{200d}❤\u{fe0f}\u{200d}👨 💃🏽 🇦🇷 1\u{fe0f}\u{20e3}",
];

/// What no page and no HTML part may hold as it stands.
pub const MARKS: [&str; 8] = [
    "<script",
    "<img src=x",
    "<svg/onload",
    "<!-- x",
    "href=\"jav",
    "href=\"javascript:",
    "\"onerror=",
    "' onmouseover='",
];

/// A text as it is kept and answered, if it is taken.
pub fn kept(text: &str) -> String {
    let text: String = text.replace("\r\n", "\n").nfc().collect();
    text.trim().to_owned()
}

/// A name for a user, so that two texts are not the same user's.
pub fn name_of(number: usize) -> String {
    format!("writer{number}")
}
