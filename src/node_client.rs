//! Talks to a running node on this machine, for commands on a data folder that is in use.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long the node may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stream may stand still: the node may be reading a large partition.
const SILENCE: Duration = Duration::from_mins(2);

/// Sends JSON and returns the JSON of a successful answer; the error of another one says what the node said.
pub(crate) async fn call(
    node: SocketAddr,
    method: Method,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let answered = async {
        let stream = TcpStream::connect(node).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, node.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        connection.abort();
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        anyhow::ensure!(status.is_success(), "{}", reason(&answer).unwrap_or_else(|| status.to_string()));
        Ok(answer)
    };
    timeout(TIMEOUT, answered).await.context("no answer in time")?
}

/// Gets a stream piece by piece. An error if the node refuses, or cuts the stream off.
pub(crate) async fn stream(
    address: &str,
    path: &str,
    token: &str,
    out: mpsc::Sender<Bytes>,
) -> anyhow::Result<()> {
    let in_time = |_| anyhow::anyhow!("no answer in time");
    let stream = timeout(TIMEOUT, TcpStream::connect(address)).await.map_err(in_time)??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::new(Bytes::new()))?;
    let mut response = timeout(TIMEOUT, sender.send_request(request)).await.map_err(in_time)??;
    let status = response.status();
    if !status.is_success() {
        let answer = timeout(TIMEOUT, response.into_body().collect()).await.map_err(in_time)??.to_bytes();
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        anyhow::bail!("{}", reason(&answer).unwrap_or_else(|| status.to_string()));
    }
    while let Some(frame) = timeout(SILENCE, response.frame()).await.context("the stream stopped")? {
        let Ok(piece) = frame.context("the stream is cut off")?.into_data() else { continue };
        // Who does not take it any more tells why.
        if out.send(piece).await.is_err() {
            break;
        }
    }
    connection.abort();
    Ok(())
}

/// What a problem document says, field by field if it does.
fn reason(problem: &Value) -> Option<String> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    let errors: Vec<_> = errors
        .filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["message"].as_str()?)))
        .collect();
    if errors.is_empty() { problem["detail"].as_str().map(str::to_owned) } else { Some(errors.join("; ")) }
}
