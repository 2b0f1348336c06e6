//! A page that shows the letters of a folder as their readers would see them, for who works on a site.
//!
//! It is a file beside the letters: what is in them, links of accounts among it, is shown to nobody who could not read the
//! folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mail_parser::{Addr, MessageParser};
use minijinja::{Environment, context};

/// The page's name in the folder.
const NAME: &str = "preview.html";
/// Letters that the page shows.
const MOST: usize = 50;
/// The longest letter that is shown, in bytes. Ours have some 30 kB.
const MAX_BYTES: u64 = 1024 * 1024;

/// What the page shows of a letter, by the names that its template has.
type Shown = BTreeMap<&'static str, String>;

/// Writes the page of a folder's newest letters; where it is.
///
/// # Errors
///
/// The folder cannot be read or written.
pub fn write_preview(folder: &Path) -> anyhow::Result<PathBuf> {
    let shown = || folder.display();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", shown()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: io::Result<Vec<_>> = names.collect();
    let mut names = names.with_context(|| format!("cannot read {}", shown()))?;
    names
        .retain(|name| !name.starts_with('.') && Path::new(name).extension().is_some_and(|end| end == "eml"));
    // Names in order are letters in order.
    names.sort_unstable_by(|one, other| other.cmp(one));
    let all = names.len();
    let letters: Vec<_> = names.into_iter().take(MOST).filter_map(|name| read(folder, name)).collect();
    let mut templates = Environment::new();
    templates.add_template(NAME, include_str!("templates/preview.html"))?;
    let values = context! { letters, all, folder => shown().to_string() };
    let page = templates.get_template(NAME)?.render(values)?;
    let path = folder.join(NAME);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(page.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Reads a letter; `None` if it is none, or gone meanwhile.
fn read(folder: &Path, file: String) -> Option<Shown> {
    let mut bytes = Vec::new();
    fs::File::open(folder.join(&file)).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let message = MessageParser::default().parse(&bytes)?;
    let to = message.to().and_then(|to| to.first()).and_then(Addr::address).unwrap_or_default();
    Some(BTreeMap::from([
        ("file", file),
        ("subject", message.subject().unwrap_or_default().to_owned()),
        ("to", to.to_owned()),
        ("date", message.date().map(mail_parser::DateTime::to_rfc3339).unwrap_or_default()),
        ("html", message.body_html(0).unwrap_or_default().into_owned()),
        ("text", message.body_text(0).unwrap_or_default().into_owned()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(subject: &str, html: &str) -> String {
        format!(
            "From: a@example.com\r\nTo: Ana <ana@example.com>\r\nSubject: {subject}\r\n\
             Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/alternative; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nplain words of {subject}\r\n\
             --b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--\r\n"
        )
    }

    #[test]
    fn the_newest_letters_are_shown_and_what_is_in_them_stays_in_its_frame() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..60 {
            let html = format!("<p>\"number {number}\"</p><script>alert(1)</script>");
            let name = format!("20261129T1000{number:02}Z-x.eml");
            fs::write(folder.path().join(name), letter(&format!("<b>{number}"), &html)).unwrap();
        }
        fs::write(folder.path().join(".half.eml.tmp"), "From: x").unwrap();
        let path = write_preview(folder.path()).unwrap();
        let page = fs::read_to_string(&path).unwrap();
        assert_eq!(page.matches("<iframe sandbox=").count(), MOST);
        assert!(page.contains("The 50 newest of 60"));
        assert!(page.find("&lt;b&gt;59").unwrap() < page.find("&lt;b&gt;10").unwrap());
        assert!(!page.contains("&lt;b&gt;9<") && !page.contains("<script"), "{page}");
        assert!(page.contains("plain words of") && page.contains("ana@example.com"));
        assert_eq!(write_preview(folder.path()).unwrap(), path, "it is written anew");
        assert!(fs::read_to_string(&path).unwrap().contains("The 50 newest of 60"), "it is no letter");
    }
}
