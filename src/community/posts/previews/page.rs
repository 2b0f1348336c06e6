//! What a page says of itself in its head: by OpenGraph, else by Twitter's cards, else by HTML's own words.

use std::collections::BTreeMap;

use html5gum::Tokenizer;
use html5gum::emitters::default::{DefaultEmitter, Token};
use mundotango_ops::public_network::may_be_public;
use url::{Host, Url};

use super::preview::Page;
use crate::texts::{address_of_elsewhere, line_of_elsewhere};

/// Most characters of a title.
const LONGEST_TITLE: usize = 200;
/// Most characters of a description.
const LONGEST_DESCRIPTION: usize = 400;
/// Most characters of the name of a site.
const LONGEST_SITE: usize = 80;
/// Most bytes of one thing that a page says which are looked at.
const MOST_BYTES: usize = 4_096;
/// What is said by `<title>`; no name of a `<meta>` is like that.
const TITLE: &str = "<title>";
/// By what a page says each thing, the best first.
const TITLES: [&str; 3] = ["og:title", "twitter:title", TITLE];
const DESCRIPTIONS: [&str; 3] = ["og:description", "twitter:description", "description"];
const SITES: [&str; 2] = ["og:site_name", "application-name"];
const IMAGES: [&str; 5] =
    ["og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src"];
/// By what a page says what others may do with it: all of them, and this server.
const ROBOTS: [&str; 2] = ["robots", US];
/// This server among those that a page speaks to.
const US: &str = "mundotango";
/// Last parts of names that lead nowhere in the public Internet.
const LOCAL: [&str; 6] = ["localhost", "local", "internal", "lan", "home", "arpa"];

/// What a page at an address says of itself; `None` where it has no title, or does not want to be quoted. `robots` is what its
/// header says of that.
pub(super) fn read(html: &str, at: &Url, robots: &str) -> Option<Page> {
    let said = said_in_head(html);
    let in_page = ROBOTS.iter().filter_map(|name| said.get(*name).map(String::as_str));
    let told: Vec<&str> = in_page.chain([robots]).collect();
    let forbids = |what: &str| told.iter().any(|told| forbids(told, what));
    let line =
        |names: &[&str], most: usize| names.iter().find_map(|name| line_of_elsewhere(said.get(*name)?, most));
    if forbids("nosnippet") {
        return None;
    }
    let title = line(&TITLES, LONGEST_TITLE)?;
    let image_url = IMAGES.iter().find_map(|name| image(said.get(*name)?, at));
    Some(Page {
        description: line(&DESCRIPTIONS, LONGEST_DESCRIPTION).filter(|description| *description != title),
        site_name: line(&SITES, LONGEST_SITE),
        image_url: image_url.filter(|_| !forbids("noimageindex")),
        title,
    })
}

/// What the head of a page says, by what says it: the first time that it is said. One pass over the page.
fn said_in_head(html: &str) -> BTreeMap<String, String> {
    let mut emitter = DefaultEmitter::<()>::default();
    // Scripts and styles hold no tags.
    emitter.naively_switch_states(true);
    let (mut said, mut in_title) = (BTreeMap::new(), false);
    for token in Tokenizer::new_with_emitter(html, emitter).flatten() {
        match token {
            Token::StartTag(tag) => match tag.name.as_slice() {
                b"meta" => {
                    let attribute = |name: &[u8]| tag.attributes.get(name).map(|value| beginning(value));
                    let name = attribute(b"property").or_else(|| attribute(b"name")).unwrap_or_default();
                    let (name, content) = (name.trim().to_ascii_lowercase(), attribute(b"content"));
                    if let Some(content) = content.filter(|_| is_looked_for(&name)) {
                        said.entry(name).or_insert(content);
                    }
                }
                b"title" => in_title = !said.contains_key(TITLE),
                b"body" => break,
                _ => {}
            },
            Token::EndTag(tag) => match tag.name.as_slice() {
                b"title" => in_title = false,
                b"head" => break,
                _ => {}
            },
            Token::String(text) if in_title => {
                let title: &mut String = said.entry(TITLE.to_owned()).or_default();
                if title.len() < MOST_BYTES {
                    title.push_str(&beginning(&text));
                }
            }
            _ => {}
        }
    }
    said
}

fn is_looked_for(name: &str) -> bool {
    [&TITLES[..2], &DESCRIPTIONS, &SITES, &IMAGES, &ROBOTS]
        .into_iter()
        .flatten()
        .any(|wanted| *wanted == name)
}

/// The beginning of what is said: enough for the longest of what is kept.
fn beginning(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Whether a list of directives holds one for all, or for this server (`mundotango: nosnippet`).
fn forbids(directives: &str, what: &str) -> bool {
    directives.split(',').any(|one| {
        let one = match one.split_once(':') {
            Some((robot, rest)) if robot.trim().eq_ignore_ascii_case(US) => rest,
            _ => one,
        };
        one.trim().eq_ignore_ascii_case(what)
    })
}

/// The address of a picture, where it begins with `https://` and leads into nobody's own network: readers' browsers ask for it.
fn image(said: &str, at: &Url) -> Option<String> {
    let url = at.join(said.trim()).ok()?;
    let is_elsewhere = match url.host()? {
        Host::Domain(name) => {
            let ends = name.trim_end_matches('.').rsplit_once('.');
            ends.is_some_and(|(_, end)| !LOCAL.contains(&end))
        }
        host => may_be_public(&host),
    };
    address_of_elsewhere(url.as_str()).filter(|_| is_elsewhere)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn read_at(html: &str) -> Option<Page> {
        read(html, &Url::parse("https://example.com/a/b?c").unwrap(), "")
    }

    fn titled(title: &str) -> Page {
        Page { title: title.to_owned(), ..Page::default() }
    }

    #[test]
    fn a_page_is_read_by_opengraph_then_cards_then_html() {
        let all = r#"<!doctype html><html><head><title>HTML &amp; more</title><META NAME="Description" content="by HTML">
            <meta name="twitter:title" content="by card"><meta property="og:title" content="by graph">
            <meta property="og:title" content="a second one"><meta property='og:description' content='by &quot;graph&quot;'>
            <meta property=og:site_name content=Tango><meta property="og:image" content="/i.png"></head>"#;
        let page = Page {
            title: "by graph".to_owned(),
            description: Some("by \"graph\"".to_owned()),
            site_name: Some("Tango".to_owned()),
            image_url: Some("https://example.com/i.png".to_owned()),
        };
        assert_eq!(read_at(all), Some(page));
        for (html, title) in [
            (r#"<title>HTML</title><meta name="twitter:title" content="card">"#, "card"),
            (r#"<title>HTML</title><meta property="og:title" content=" ">"#, "HTML"),
            ("<title>\n Tango \t &amp;\n Vals </title>", "Tango & Vals"),
            ("<title>a</title><title>b</title>", "a"),
            ("<script>'<title>no</title>'</script><style><title>no</title></style><title>yes</title>", "yes"),
            ("<!-- <title>no</title> --><title>yes</title>", "yes"),
            ("<title><b>inert</b></title>", "<b>inert</b>"),
            ("<title>cut off", "cut off"),
        ] {
            assert_eq!(read_at(html), Some(titled(title)), "{html}");
        }
    }

    #[test]
    fn what_is_no_head_says_nothing() {
        for html in [
            "",
            "<html><head></head><body><title>late</title></body>",
            "<body><meta property=\"og:title\" content=\"late\">",
            "<title> \u{200b} </title>",
            "<title>garbled \u{fffd}</title>",
            "<meta property=\"og:description\" content=\"no title\">",
            "{\"title\": 1}",
            "<<<<>>>><//<!<![CDATA[",
        ] {
            assert_eq!(read_at(html), None, "{html}");
        }
    }

    #[test]
    fn texts_are_one_bounded_line_without_what_turns_it_round() {
        let html = "<title>a\u{202e}bc\u{2066}d\u{7}e\u{2028}f</title>";
        let title = read_at(html).unwrap().title;
        assert!(
            !title.contains(|c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)),
            "{title:?}"
        );
        let page = read_at(&format!(
            "<title>{}</title><meta name=description content=\"{}\"><meta property=og:site_name content=\"{}\">",
            "ñ".repeat(9_000),
            "d".repeat(9_000),
            "s".repeat(9_000)
        ));
        let page = page.unwrap();
        let count = |text: Option<String>| text.unwrap().chars().count();
        assert_eq!(page.title.chars().count(), LONGEST_TITLE);
        assert!(page.title.ends_with('…'));
        assert_eq!((count(page.description), count(page.site_name)), (LONGEST_DESCRIPTION, LONGEST_SITE));
    }

    #[test]
    fn pictures_are_at_https_and_in_nobodys_own_network() {
        let image = |address: &str| {
            let html = format!("<title>x</title><meta property=\"og:image\" content=\"{address}\">");
            read_at(&html).unwrap().image_url
        };
        for (said, kept) in [
            ("https://cdn.example/a.png?x=1", Some("https://cdn.example/a.png?x=1")),
            ("//cdn.example/a.png", Some("https://cdn.example/a.png")),
            ("a.png", Some("https://example.com/a/a.png")),
            ("http://cdn.example/a.png", None),
            ("javascript:alert(1)", None),
            ("data:image/png;base64,AA", None),
            ("https://me@cdn.example/a.png", None),
            ("https://192.168.0.1/reboot", None),
            ("https://[::1]/", None),
            ("https://localhost/a.png", None),
            ("https://router.lan/a.png", None),
            ("https://intranet/a.png", None),
        ] {
            assert_eq!(image(said).as_deref(), kept, "{said}");
        }
        assert_eq!(image(&format!("https://cdn.example/{}", "x".repeat(2_000))), None);
    }

    #[test]
    fn a_page_that_does_not_want_to_be_quoted_is_not() {
        let url = Url::parse("https://example.com/").unwrap();
        let html = "<title>x</title><meta property=og:image content=/a.png>";
        for (robots, is_read) in [
            ("", true),
            ("noindex, nofollow", true),
            ("googlebot: nosnippet", true),
            ("noindex, NoSnippet", false),
            ("mundotango: nosnippet", false),
        ] {
            assert_eq!(read(html, &url, robots).is_some(), is_read, "{robots}");
            let meta = format!("<meta name=robots content=\"{robots}\">{html}");
            assert_eq!(read(&meta, &url, "").is_some(), is_read, "{robots}");
        }
        assert_eq!(read(html, &url, "noimageindex"), Some(titled("x")));
    }

    #[test]
    fn a_hostile_page_takes_no_longer_than_any_of_its_size() {
        const SIZE: usize = 512 * 1024;
        for piece in [
            "<",
            "<a ",
            "<!--",
            "</title",
            "<title>",
            "&",
            "<meta x",
            "<meta a=b ",
            "<script>",
            "\"'",
            "&#x1",
        ] {
            let html = format!("<meta property=og:title content=x>{}", piece.repeat(SIZE / piece.len()));
            let start = Instant::now();
            let _ = read_at(&html);
            // A second is a hundred times what it takes, and a hundredth of what it would take if it grew with the square.
            assert!(start.elapsed() < Duration::from_secs(5), "{piece}: {:?}", start.elapsed());
        }
    }

    proptest! {
        #[test]
        fn whatever_a_page_says_it_is_bounded_and_inert(html in "(<(meta|title|/title|head|!--) ?|property=|name=|og:(title|image)|content=|[\"'>&;=]|.){0,80}") {
            if let Some(page) = read_at(&html) {
                prop_assert!(page.title.chars().count() <= LONGEST_TITLE && !page.title.contains(char::is_control));
                prop_assert!(page.image_url.is_none_or(|url| url.starts_with("https://")));
            }
        }
    }
}
