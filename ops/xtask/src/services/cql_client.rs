//! As much of a CQL client as it takes to see that a server serves (native protocol, version 4).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use super::kind::connect;

const VERSION: u8 = 4;
const HEADER_BYTES: usize = 9;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const ERROR: u8 = 0x00;
/// The consistency of queries: one replica.
const ONE: u16 = 0x0001;
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Longest wait for a statement's answer: dropping a keyspace with its tables takes seconds.
const STATEMENT_PATIENCE: Duration = Duration::from_mins(1);

/// A connection.
pub(crate) struct CqlClient {
    stream: TcpStream,
}

impl CqlClient {
    /// Connects to a server that says that it serves.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut client = Self { stream: connect(address)? };
        client.ask(OPTIONS, &[], SUPPORTED)?;
        // A map of one option, as all strings with 16 bits of length.
        let mut options = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            options.extend(u16::try_from(text.len())?.to_be_bytes());
            options.extend(text.as_bytes());
        }
        client.ask(STARTUP, &options, READY)?;
        client.stream.set_read_timeout(Some(STATEMENT_PATIENCE))?;
        Ok(client)
    }

    /// Runs a statement; the answer's body.
    pub(crate) fn query(&mut self, statement: &str) -> anyhow::Result<Vec<u8>> {
        let mut body = u32::try_from(statement.len())?.to_be_bytes().to_vec();
        body.extend(statement.as_bytes());
        body.extend(ONE.to_be_bytes());
        body.push(0);
        self.ask(QUERY, &body, RESULT).with_context(|| statement.to_owned())
    }

    /// Runs a statement whose answer is one number, such as a count.
    pub(crate) fn number(&mut self, statement: &str) -> anyhow::Result<i64> {
        let body = self.query(statement)?;
        // The only value of the only row ends the frame.
        let value = body.last_chunk().with_context(|| format!("{statement}: no number"))?;
        Ok(i64::from_be_bytes(*value))
    }

    fn ask(&mut self, opcode: u8, body: &[u8], wanted: u8) -> anyhow::Result<Vec<u8>> {
        let mut frame = vec![VERSION, 0, 0, 0, opcode];
        frame.extend(u32::try_from(body.len())?.to_be_bytes());
        frame.extend(body);
        self.stream.write_all(&frame)?;
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header)?;
        let [_, _, _, _, answer, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        anyhow::ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        // An error is a number of 32 bits and a text.
        let text = || String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned();
        anyhow::ensure!(answer != ERROR, "{}", text());
        anyhow::ensure!(answer == wanted, "answers {opcode:#x} with {answer:#x}");
        Ok(body)
    }
}
