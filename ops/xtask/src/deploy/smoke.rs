//! `cargo xtask smoke`: the shortest way through all parts of a community. An account signs in, reads, writes, and
//! hears by socket of what it wrote, which went through the store, the outbox and the cluster's bus.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::http::Site;
use super::socket::Socket;

/// What the account's own post says. Nobody else sees it, and there is one for all times.
const POST: &str = "A post of the smoke test.";
/// Between two tries of a node that is not ready yet.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What is asked, of whom.
#[derive(Debug, Args)]
pub(crate) struct Smoke {
    /// The community's address, such as `https://community.example.org`.
    #[arg(long, env = "MUNDOTANGO_SMOKE_URL")]
    url: String,
    /// The version that has to answer, as /api/health names it.
    #[arg(long)]
    expect_version: Option<String>,
    /// The account that signs in. Without one only what everybody may see is tried.
    #[arg(long, env = "MUNDOTANGO_SMOKE_EMAIL", requires = "password")]
    email: Option<String>,
    /// Its password.
    #[arg(long, env = "MUNDOTANGO_SMOKE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Make the account if it cannot sign in: for a stage that begins empty.
    #[arg(long)]
    register: bool,
    /// How long the community may take until it is ready, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// How often a post that changed is asked for until it shows the reaction.
const LOOKS: usize = 10;

/// Tries everything; an error at the first thing that does not work.
pub(crate) fn smoke(how: &Smoke) -> anyhow::Result<()> {
    let mut site = Site::new(&how.url)?;
    step("ready", || ready(&site, Duration::from_secs(how.patience)))?;
    step("version", || version(&site, how.expect_version.as_deref()))?;
    step("documentation", || {
        let document = site.ask("GET", "/api/docs/json")?.with_status(&[200])?;
        anyhow::ensure!(document["paths"]["/api/posts"].is_object(), "no document of the API");
        Ok(())
    })?;
    step("an unknown route is a problem document", || problem(&site, "/api/smoke-test", 404))?;
    step("a stranger is refused", || problem(&site, "/api/users/me", 401))?;
    let (Some(email), Some(password)) = (&how.email, &how.password) else {
        step("a socket answers", || anonymous(&site))?;
        println!("no account was given: signing in, writing and publications were not tried");
        return Ok(());
    };
    let token = step("sign in", || sign_in(&site, email, password, how.register))?;
    site.sign_in(token);
    step("read", || {
        let me = site.ask("GET", "/api/users/me")?.with_status(&[200])?;
        anyhow::ensure!(me["email"] == email.as_str(), "signed in as {}", me["email"]);
        site.ask("GET", "/api/events")?.with_status(&[200])?;
        Ok(())
    })?;
    let post = step("write", || own_post(&site))?;
    step("hear of it", || hear(&site, &post))
}

/// Does a step and says so; an error says which it was.
fn step<T>(name: &str, what: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    let outcome = what().with_context(|| format!("failed: {name}"))?;
    println!("ok: {name}, {} ms", start.elapsed().as_millis());
    Ok(outcome)
}

fn ready(site: &Site, patience: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let outcome = site.ask("GET", "/api/health/ready").and_then(|answer| answer.with_status(&[200]));
        match outcome {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() >= patience => return Err(error),
            Err(_) => std::thread::sleep(RETRY_INTERVAL),
        }
    }
}

fn version(site: &Site, wanted: Option<&str>) -> anyhow::Result<()> {
    let health = site.ask("GET", "/api/health")?.with_status(&[200])?;
    let is = health["version"].as_str().context("no version")?;
    let wanted = wanted.unwrap_or(is);
    anyhow::ensure!(is.split(' ').any(|word| word == wanted) || is == wanted, "{is} answers, not {wanted}");
    Ok(())
}

fn problem(site: &Site, path: &str, status: u16) -> anyhow::Result<()> {
    let answer = site.ask("GET", path)?;
    let kind = answer.content_type.clone();
    let body = answer.with_status(&[status])?;
    anyhow::ensure!(kind == "application/problem+json" && body["code"].is_string(), "{kind}: {body}");
    Ok(())
}

/// A socket without a token: it is either let in as a guest or refused in the protocol's words.
fn anonymous(site: &Site) -> anyhow::Result<()> {
    match Socket::open(site.base())?.call("connect", &json!({})) {
        Ok(_) => Ok(()),
        Err(error) if is_refusal(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a session without a token was refused, which only a working server does.
fn is_refusal(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("was refused") || text.contains("the server closed the socket: Some")
}

fn sign_in(site: &Site, email: &str, password: &str, may_register: bool) -> anyhow::Result<String> {
    let credentials = json!({ "email": email, "password": password });
    let mut answer = site.tell("POST", "/api/auth/login", &credentials)?;
    if answer.status == 401 && may_register {
        let username = email.split('@').next().unwrap_or(email);
        let account =
            json!({ "email": email, "password": password, "username": username, "fullName": "Smoke Test" });
        answer = site.tell("POST", "/api/auth/register", &account)?;
    }
    let body = answer.with_status(&[200, 201])?;
    Ok(body["token"].as_str().context("no token")?.to_owned())
}

/// The account's own post: the one of an earlier run, or a new one.
fn own_post(site: &Site) -> anyhow::Result<String> {
    let feed = site.ask("GET", "/api/posts?page=1")?.with_status(&[200])?;
    let earlier =
        feed["items"].as_array().and_then(|posts| posts.iter().find(|post| post["content"] == POST));
    let post = if let Some(post) = earlier {
        post.clone()
    } else {
        let post = json!({ "content": POST, "visibility": "private" });
        site.tell("POST", "/api/posts", &post)?.with_status(&[200, 201])?
    };
    Ok(post["id"].as_str().context("a post without id")?.to_owned())
}

/// Changes the post and waits for the publication of it.
fn hear(site: &Site, post: &str) -> anyhow::Result<()> {
    let (path, channel) = (format!("/api/posts/{post}/react"), format!("post:{post}"));
    // What an earlier run left, if it was ended in the middle.
    site.ask("DELETE", &path)?.with_status(&[200, 204, 404])?;
    let mut socket = Socket::open(site.base())?;
    socket.call("connect", &json!({ "token": site.token() }))?;
    socket.call("subscribe", &json!({ "channel": channel }))?;
    let reaction = json!({ "reactionType": "like" });
    site.tell("POST", &path, &reaction)?.with_status(&[200, 201])?;
    let heard = until_liked(site, &mut socket, post);
    site.ask("DELETE", &path)?.with_status(&[200, 204])?;
    heard
}

/// The first publications may still tell of the reaction that was taken back. Of a post that is not public they tell only that it
/// changed.
fn until_liked(site: &Site, socket: &mut Socket, post: &str) -> anyhow::Result<()> {
    let channel = format!("post:{post}");
    loop {
        let heard = socket.publication(&channel)?["data"].take();
        if has_like(&heard) || (heard["type"] == "post.changed" && shows_like(site, post)?) {
            return Ok(());
        }
    }
}

/// Whether the post itself shows the reaction, now or in a while: nodes keep a sum for some seconds.
fn shows_like(site: &Site, post: &str) -> anyhow::Result<bool> {
    for _ in 0..LOOKS {
        if has_like(&site.ask("GET", &format!("/api/posts/{post}"))?.with_status(&[200])?) {
            return Ok(true);
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
    Ok(false)
}

fn has_like(heard: &Value) -> bool {
    heard["reactions"]["like"] == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_counted_like_is_what_was_written() {
        let of = |reactions: Value| has_like(&json!({ "reactions": reactions }));
        assert!(of(json!({ "like": 1 })));
        assert!(!of(json!({})));
        assert!(!of(json!({ "like": 0 })));
        assert!(!has_like(&json!({ "type": "comment.created" })));
    }

    #[test]
    fn a_refusal_in_the_protocols_words_is_an_answer() {
        let refused = anyhow::anyhow!("connect was refused: {}", json!({ "code": 101 }));
        assert!(is_refusal(&refused));
        assert!(!is_refusal(&anyhow::anyhow!("nothing within 10 s").context("no answer to connect")));
    }
}
