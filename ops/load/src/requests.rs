//! Callers of the REST API: each asks on a connection of its own, again as soon as it has its answer.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::ServerProcess;
use crate::report::Latencies;
use crate::token::Signer;
use crate::zipf::Zipf;

/// Accounts that write what the others read: few, as a server bounds how many one address may make.
const AUTHORS: usize = 4;
/// Places at an event: nearly all who come to one are put on its waitlist.
const CAPACITY: u32 = 100;
/// Characters of a post.
const POST_CHARS: usize = 200;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Write a post.
    Post,
    /// Read one of the posts.
    Read,
    /// Read the first page of the feed.
    Feed,
    /// Read what `--path` names.
    Path,
    /// React to one of the posts, each time as another user.
    React,
    /// Answer one of the events, each time as another user.
    Rsvp,
}

/// What is asked, of whom, and by how many.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[arg(value_enum)]
    work: Work,
    /// The server's address.
    #[arg(long, default_value = "127.0.0.1:5000")]
    server: String,
    /// A file with the secret that signs the users' tokens (HS256).
    #[arg(long)]
    secret_file: PathBuf,
    /// The server's processes, to read their CPU time.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// How many ask at the same time.
    #[arg(long, default_value_t = 32)]
    callers: usize,
    /// Posts or events that are made before, for the callers to choose from.
    #[arg(long, default_value_t = 1)]
    objects: usize,
    /// How unevenly they choose: the k-th object is taken 1/k^S times as often as the first; 0 for evenly.
    #[arg(long, default_value_t = 0.0)]
    skew: f64,
    /// The path that is read.
    #[arg(long, default_value = "/api/health/live")]
    path: String,
    /// How long, in seconds, after a second that is not counted.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Stop after so many requests, if that is earlier; then no request goes uncounted.
    #[arg(long)]
    requests: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
struct Figures {
    requests: usize,
    /// Those that were not answered by success.
    failed: usize,
    requests_per_second: f64,
    /// Requests a second of server CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_cpu_second: Option<f64>,
    latency_millis: Option<Latencies>,
}

impl Figures {
    fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!("  {:<20}{} ({} failed)", "requests", self.requests, self.failed);
        println!("  {:<20}{:.0} a second", "", self.requests_per_second);
        if let Some(rate) = self.requests_per_cpu_second {
            println!("  {:<20}{rate:.0} a second of server CPU", "");
        }
        if let Some(latency) = self.latency_millis {
            println!("  {:<20}{latency}", "latency");
        }
        Ok(())
    }
}

/// A connection of one caller.
struct Caller {
    connection: SendRequest<Full<Bytes>>,
    host: String,
}

impl Caller {
    async fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Whoever asks next sees that the connection is gone.
            let _ = driver.await;
        });
        Ok(Self { connection, host: server.to_string() })
    }

    /// Asks, and reads the whole answer.
    async fn ask(&mut self, token: Option<&str>, request: &Asked) -> anyhow::Result<(bool, Bytes)> {
        let mut head =
            Request::builder().method(request.method.clone()).uri(&request.path).header(HOST, &self.host);
        if let Some(token) = token {
            head = head.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !request.body.is_empty() {
            head = head.header(CONTENT_TYPE, "application/json");
        }
        self.connection.ready().await?;
        let answer = self.connection.send_request(head.body(Full::new(request.body.clone()))?).await?;
        let is_good = answer.status().is_success();
        let mut body = answer.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok((is_good, bytes.freeze()))
    }

    /// Asks for what has to succeed; the answer's JSON.
    async fn must(&mut self, token: Option<&str>, request: &Asked) -> anyhow::Result<Value> {
        let (is_good, body) = self.ask(token, request).await?;
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(is_good, "{} {}: {text}", request.method, request.path);
        serde_json::from_str(&text).with_context(|| format!("{}: {text}", request.path))
    }
}

/// A request without whose it is.
struct Asked {
    method: Method,
    path: String,
    body: Bytes,
}

impl Asked {
    fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    fn post(path: impl Into<String>, body: &Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Bytes::from(body.to_string()) }
    }

    fn new_post() -> Self {
        Self::post("/api/posts", &json!({"content": "x".repeat(POST_CHARS)}))
    }

    fn new_event() -> Self {
        let event = json!({
            "title": "Milonga", "eventDate": "2100-01-01T20:00:00Z", "location": "Salon",
            "eventType": "milonga", "capacity": CAPACITY,
        });
        Self::post("/api/events", &event)
    }
}

/// What all callers share.
struct Run {
    work: Work,
    signer: Signer,
    authors: Vec<String>,
    objects: Vec<String>,
    path: String,
    choice: Zipf,
    /// Requests that were begun.
    begun: AtomicU64,
    most: u64,
    counted_from: Instant,
    until: Instant,
}

impl Run {
    fn request(&self, number: u64) -> anyhow::Result<(String, Asked)> {
        let turn = usize::try_from(number % self.authors.len() as u64)?;
        let author = || self.authors[turn].clone();
        let another = || self.signer.token(&format!("load-{number}"));
        let object = || &self.objects[self.choice.pick()];
        Ok(match self.work {
            Work::Post => (author(), Asked::new_post()),
            Work::Read => (author(), Asked::get(format!("/api/posts/{}", object()))),
            Work::Feed => (author(), Asked::get("/api/posts")),
            Work::Path => (author(), Asked::get(&self.path)),
            Work::React => {
                let path = format!("/api/posts/{}/react", object());
                (another()?, Asked::post(path, &json!({"reactionType": "heart"})))
            }
            Work::Rsvp => {
                let path = format!("/api/events/{}/rsvp", object());
                (another()?, Asked::post(path, &json!({"status": "going"})))
            }
        })
    }

    /// Asks until the time is over; latencies, and how many failed.
    async fn call(&self, mut caller: Caller) -> anyhow::Result<(Vec<u64>, usize)> {
        let (mut nanos, mut failed) = (Vec::new(), 0);
        while Instant::now() < self.until {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.most {
                break;
            }
            let (token, request) = self.request(number)?;
            let start = Instant::now();
            let (is_good, _) = caller.ask(Some(&token), &request).await?;
            if start >= self.counted_from {
                nanos.push(u64::try_from(start.elapsed().as_nanos())?);
                failed += usize::from(!is_good);
            }
        }
        Ok((nanos, failed))
    }
}

/// Makes what is asked for, lets the callers ask, and prints what came out.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(plan))?;
    figures.print(plan.json)?;
    anyhow::ensure!(figures.failed == 0, "{} requests failed", figures.failed);
    Ok(())
}

async fn measure(plan: &Plan) -> anyhow::Result<Figures> {
    let server = tokio::net::lookup_host(&plan.server).await?.next().context("no server address")?;
    let secret = fs::read_to_string(&plan.secret_file)
        .with_context(|| format!("cannot read {}", plan.secret_file.display()))?;
    let authors = register_authors(server).await?;
    let objects = make_objects(server, plan, &authors).await?;
    let mut callers = Vec::new();
    for _ in 0..plan.callers {
        callers.push(Caller::open(server).await?);
    }
    let warm_up = if plan.requests.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
    let counted_from = Instant::now() + warm_up;
    let run = Arc::new(Run {
        work: plan.work,
        signer: Signer::new(secret.trim()),
        authors,
        choice: Zipf::new(objects.len(), plan.skew),
        objects,
        path: plan.path.clone(),
        begun: AtomicU64::new(0),
        most: plan.requests.unwrap_or(u64::MAX),
        counted_from,
        until: counted_from + Duration::from_secs(plan.seconds),
    });
    let mut calling = JoinSet::new();
    for caller in callers {
        let run = Arc::clone(&run);
        calling.spawn(async move { run.call(caller).await });
    }
    tokio::time::sleep(warm_up).await;
    let process = ServerProcess::of(&plan.server_pid);
    let cpu = || process.as_ref().map(ServerProcess::cpu_seconds).transpose();
    let cpu_before = cpu()?;
    let (mut nanos, mut failed) = (Vec::new(), 0);
    while let Some(called) = calling.join_next().await {
        let (of_caller, failed_of_caller) = called??;
        nanos.extend(of_caller);
        failed += failed_of_caller;
    }
    let (seconds, cpu_after) = (counted_from.elapsed().as_secs_f64(), cpu()?);
    let count = nanos.len();
    Ok(Figures {
        requests: count,
        failed,
        requests_per_second: count as f64 / seconds,
        requests_per_cpu_second: cpu_before
            .zip(cpu_after)
            .filter(|(before, after)| after > before)
            .map(|(before, after)| count as f64 / (after - before)),
        latency_millis: Latencies::of(nanos),
    })
}

/// Makes the accounts that write; their tokens.
async fn register_authors(server: SocketAddr) -> anyhow::Result<Vec<String>> {
    let mut caller = Caller::open(server).await?;
    // One server may be measured again and again.
    let run = format!("{:x}", crate::worker::now_nanos());
    let mut tokens = Vec::new();
    for number in 0..AUTHORS {
        let account = json!({
            "username": format!("l{run}_{number}"), "email": format!("{run}-{number}@example.com"),
            "password": "abrazo-1234", "fullName": "Load",
        });
        let answer = caller.must(None, &Asked::post("/api/auth/register", &account)).await?;
        tokens.push(answer["token"].as_str().context("no token")?.to_owned());
    }
    Ok(tokens)
}

/// Makes what is read or changed; the ids.
async fn make_objects(server: SocketAddr, plan: &Plan, authors: &[String]) -> anyhow::Result<Vec<String>> {
    let (count, make): (_, fn() -> Asked) = match plan.work {
        Work::Post | Work::Path => (0, Asked::new_post),
        // A page of the feed is full.
        Work::Feed => (plan.objects.max(100), Asked::new_post),
        Work::Read | Work::React => (plan.objects, Asked::new_post),
        Work::Rsvp => (plan.objects, Asked::new_event),
    };
    let mut making = JoinSet::new();
    for first in 0..plan.callers.min(count) {
        let mut caller = Caller::open(server).await?;
        let (authors, numbers) = (authors.to_vec(), (first..count).step_by(plan.callers));
        making.spawn(async move {
            let mut ids = Vec::new();
            for number in numbers {
                let author = &authors[number % authors.len()];
                let made = caller.must(Some(author), &make()).await?;
                ids.push(made["id"].as_str().context("no id")?.to_owned());
            }
            anyhow::Ok(ids)
        });
    }
    let mut objects = Vec::new();
    while let Some(ids) = making.join_next().await {
        objects.extend(ids??);
    }
    Ok(objects)
}
