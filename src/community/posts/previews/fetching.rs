//! Fetching a page to which somebody's post leads: the address is the user's, and so is what answers there.
//!
//! Each address is judged before it is asked, also where a page leads elsewhere, and names are resolved to public addresses when the
//! connection is made ([`PublicOnly`]): so nobody reaches the node's own network. What answers is bounded in time and bytes.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mundotango_jobs::{Breakers, Failure, Seen};
use mundotango_ops::public_network::{NotPublic, PublicOnly, may_be_public};
use reqwest::header::{self, HeaderName};
use reqwest::{Client, Response, StatusCode, redirect, retry};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::charset::decoded;
use super::page;
use super::preview::Page;
use super::waiting::Turns;

/// How long connecting may take, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long all of it may take, redirects included.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// Most addresses that a page may lead on to.
const MOST_REDIRECTS: usize = 3;
/// Most bytes of a page that are read.
const MOST_BYTES: usize = 512 * 1024;
/// Behind this nothing is read.
const END: &[u8] = b"</head>";
/// The longest wait that a server may ask for. Past it nobody waits for the preview any more.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The ports that are asked.
const PORTS: [u16; 2] = [80, 443];

/// Fetches pages for previews.
pub(super) struct Fetcher {
    client: Client,
    /// Whether private networks and all ports are asked: for tests and development.
    private: bool,
    breakers: Breakers,
    turns: Turns,
}

/// What an address answers.
enum Answer {
    /// A page, or nothing that can be shown.
    Page(Option<Page>),
    /// Another address.
    Elsewhere(Url),
}

impl Fetcher {
    /// Fetches for the site at this address, which servers are told. With `private`, all networks and ports are reached.
    pub(super) fn new(private: bool, public_url: &str) -> anyhow::Result<Self> {
        let agent = format!("MundoTango/{} (link preview; +{public_url})", env!("CARGO_PKG_VERSION"));
        let builder = Client::builder()
            .user_agent(agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            // What unpacks into more is not asked for, and not unpacked.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // A connection is of one look, so what was judged is what is asked.
            .pool_max_idle_per_host(0);
        let builder = if private { builder } else { builder.dns_resolver(PublicOnly) };
        let client = builder.build().context("the HTTP client for previews of links cannot be set up")?;
        Ok(Self { client, private, breakers: Breakers::default(), turns: Turns::default() })
    }

    /// What the page at an address says of itself; `None` where nothing can be shown, today and in an hour.
    pub(super) async fn page(&self, link: &Url) -> Result<Option<Page>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let (mut url, mut asked) = (link.clone(), Vec::new());
        for _ in 0..=MOST_REDIRECTS {
            if !may_be_asked(&url, self.private) {
                return Ok(None);
            }
            let host = url.host_str().unwrap_or_default().to_owned();
            if !asked.contains(&host) {
                self.turns.take(&host, rand::random())?;
                self.breakers.admit(&host)?;
            }
            let late = |_| Err(Failure::retry(format!("no page within {} s", PATIENCE.as_secs())));
            let answer = timeout_at(deadline, self.ask(&url)).await.unwrap_or_else(late);
            // The time of one that is led to may have been used up by whoever leads there.
            match &answer {
                Ok(_) => self.breakers.note(&host, Seen::Works),
                Err(_) if asked.is_empty() => self.breakers.note(&host, Seen::Fails),
                Err(_) => {}
            }
            match answer? {
                Answer::Page(page) => return Ok(page),
                Answer::Elsewhere(next) => url = next,
            }
            asked.push(host);
        }
        Ok(None)
    }

    async fn ask(&self, url: &Url) -> Result<Answer, Failure> {
        let request = self
            .client
            .get(url.clone())
            .header(header::ACCEPT, "text/html, application/xhtml+xml")
            .header(header::ACCEPT_ENCODING, "identity");
        let mut response = match request.send().await {
            Ok(response) => response,
            // A private address stays private tomorrow.
            Err(error) if error.is_builder() || NotPublic::caused(&error) => return Ok(Answer::Page(None)),
            Err(error) => return Err(failed(error)),
        };
        let status = response.status();
        if status.is_redirection() {
            let next = text_of(&response, header::LOCATION).and_then(|next| url.join(next).ok());
            return Ok(next.map_or(Answer::Page(None), Answer::Elsewhere));
        }
        if is_passing(status) {
            let after = text_of(&response, header::RETRY_AFTER);
            let after =
                after.and_then(|told| mundotango_ops::retry_after(told, SystemTime::now(), LONGEST_WAIT));
            return Err(Failure::Retry { why: status.to_string(), after });
        }
        let charset = text_of(&response, header::CONTENT_TYPE).and_then(charset_of_page).map(str::to_owned);
        let Some(charset) = charset.filter(|_| status.is_success() && is_plain(&response)) else {
            return Ok(Answer::Page(None));
        };
        let robots = response.headers().get_all("x-robots-tag").iter();
        let robots: Vec<_> = robots.filter_map(|told| told.to_str().ok().map(str::to_owned)).collect();
        let body = head_of(&mut response).await?;
        // Some milliseconds for the largest page.
        let html = decoded(&body, Some(charset.as_str()).filter(|charset| !charset.is_empty()));
        Ok(Answer::Page(page::read(&html, url, &robots.join(","))))
    }
}

/// Whether an address may be asked: by http or https, on their own ports, without a name and a password, in public networks.
/// Names are resolved later.
fn may_be_asked(url: &Url, private: bool) -> bool {
    let Some(host) = url.host() else { return false };
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_public = || url.port().is_none_or(|port| PORTS.contains(&port)) && may_be_public(&host);
    matches!(url.scheme(), "http" | "https") && is_plain && (private || is_public())
}

/// A failure that may pass.
fn failed(error: reqwest::Error) -> Failure {
    Failure::retry(format!("{:#}", anyhow::Error::from(error.without_url())))
}

/// Whether a status says that the page may be there later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn text_of(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether a body is as it is sent: it was asked for so, and nothing is unpacked here.
fn is_plain(response: &Response) -> bool {
    text_of(response, header::CONTENT_ENCODING).is_none_or(|how| how.eq_ignore_ascii_case("identity"))
}

/// How the characters of a page are written, blank where its type does not say so; `None` for what is no page.
fn charset_of_page(kind: &str) -> Option<&str> {
    let mut parts = kind.split(';').map(str::trim);
    let name = parts.next()?;
    let is_page = ["text/html", "application/xhtml+xml"].iter().any(|page| name.eq_ignore_ascii_case(page));
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    is_page.then(|| charset.unwrap_or_default())
}

/// A page up to the end of its head, or as much of it as is read.
async fn head_of(response: &mut Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while body.len() < MOST_BYTES {
        let Some(piece) = response.chunk().await.map_err(failed)? else { break };
        // It may begin in the piece before.
        let from = body.len().saturating_sub(END.len() - 1);
        let room = MOST_BYTES - body.len();
        body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if body[from..].windows(END.len()).any(|bytes| bytes.eq_ignore_ascii_case(END)) {
            break;
        }
        // A fast server must not hold up what else the thread does.
        tokio::task::consume_budget().await;
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t43_only_public_addresses_are_asked_by_their_own_ports() {
        for (address, is_asked) in [
            ("https://example.com/a?b#c", true),
            ("http://example.com", true),
            ("https://example.com:443/", true),
            ("https://example.com:80/", true),
            ("https://8.8.8.8/", true),
            ("https://[2606:4700:4700::1111]/", true),
            ("http://example.com:8080/", false),
            ("http://example.com:22/", false),
            ("https://ana@example.com/", false),
            ("https://:secret@example.com/", false),
            ("ftp://example.com/", false),
            ("file:///etc/passwd", false),
            ("data:text/html,x", false),
            ("gopher://127.0.0.1:25/", false),
            ("http://127.0.0.1/", false),
            ("http://2130706433/", false),
            ("http://0x7f.1/", false),
            ("http://10.0.0.1/", false),
            ("http://100.100.100.200/", false),
            ("http://169.254.169.254/latest/meta-data", false),
            ("http://168.63.129.16/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("http://[64:ff9b::a00:1]/", false),
            ("http://[fd00:ec2::254]/", false),
        ] {
            let url = Url::parse(address).unwrap();
            assert_eq!(may_be_asked(&url, false), is_asked, "{address}");
        }
        assert!(may_be_asked(&Url::parse("http://127.0.0.1:8080/").unwrap(), true));
        assert!(!may_be_asked(&Url::parse("ftp://127.0.0.1/").unwrap(), true));
    }

    #[tokio::test]
    async fn t43_a_name_that_leads_into_a_private_network_is_nothing_to_show() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let fetcher = Fetcher::new(false, "https://tango.example").unwrap();
        // Found out when the connection is made, so whatever the name led to before.
        let found = fetcher.page(&Url::parse("http://localhost/").unwrap()).await;
        assert_eq!(found, Ok(None));
    }

    #[test]
    fn only_pages_are_read() {
        for (kind, charset) in [
            ("text/html", Some("")),
            ("TEXT/HTML; charset=UTF-8", Some("UTF-8")),
            ("application/xhtml+xml;x=y; Charset=\"iso-8859-1\"", Some("iso-8859-1")),
            ("text/plain", None),
            ("application/json", None),
            ("image/svg+xml", None),
            ("text/htmlx", None),
            ("", None),
        ] {
            assert_eq!(charset_of_page(kind), charset, "{kind}");
        }
    }
}
