//! What traces cost: the same load with none, with one of a hundred and with all of them, in turns.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use super::figure;
use super::server::{Server, ask, load};

/// Turns that each way takes, as neighbours on the machine come and go.
const TURNS: usize = 3;
/// How much is traced; nothing is sent anywhere with none.
const WAYS: [(&str, Option<&str>); 3] = [("off", None), ("1 %", Some("0.01")), ("100 %", Some("1"))];
/// Publications of sockets: the shortest commands that there are.
const PUBLICATIONS: &str =
    "fanout --channel bench:many --channels 200 --subscribers 10 --publishers 10 --rate 1500 --seconds 8";

/// What is measured, and the figure by which ways are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Publications,
    Requests,
}

impl Work {
    const ALL: [Self; 2] = [Self::Publications, Self::Requests];

    const fn name(self) -> &'static str {
        match self {
            Self::Publications => "1,500 publications/s to 10 subscribers each: deliveries / CPU s",
            Self::Requests => "write a post by REST, 32 callers: requests / CPU s",
        }
    }

    fn measure(self, server: &Server) -> anyhow::Result<Option<f64>> {
        let (report, path) = match self {
            Self::Publications => {
                let arguments: Vec<_> = PUBLICATIONS.split(' ').collect();
                (load(&[server], &[server], "json", &arguments)?, "/deliveries_per_cpu_second")
            }
            Self::Requests => (ask(server, "post")?, "/requests_per_cpu_second"),
        };
        Ok(report.pointer(path).and_then(Value::as_f64))
    }
}

/// Measures all ways in turns, and prints their means and what is left of the figure without traces.
pub(super) fn tables() -> anyhow::Result<()> {
    let collector = sink()?;
    let mut figures: BTreeMap<(Work, usize), Vec<f64>> = BTreeMap::new();
    for _ in 0..TURNS {
        for work in Work::ALL {
            for (way, (_, ratio)) in WAYS.iter().enumerate() {
                let server = Server::ours("node", &settings(*ratio, collector))?;
                figures.entry((work, way)).or_default().extend(work.measure(&server)?);
            }
        }
    }
    println!("\nq: the same load by how much of it is traced, {TURNS} turns each\n");
    println!("| | traces | mean | least | most | ÷ off |\n|---|---|---|---|---|---|");
    for work in Work::ALL {
        let off = figures.get(&(work, 0)).and_then(|figures| mean(figures));
        for (way, (name, _)) in WAYS.iter().enumerate() {
            let own = figures.get(&(work, way)).map(Vec::as_slice).unwrap_or_default();
            let (least, most) = (own.iter().copied().reduce(f64::min), own.iter().copied().reduce(f64::max));
            let ratio = mean(own).zip(off).map(|(own, off)| own / off);
            let row = [mean(own), least, most, ratio].map(|value| figure(value.map(Value::from).as_ref()));
            println!("| {} | {name} | {} |", work.name(), row.join(" | "));
        }
    }
    Ok(())
}

fn mean(figures: &[f64]) -> Option<f64> {
    (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
}

fn settings(ratio: Option<&str>, collector: SocketAddr) -> Vec<(String, String)> {
    let own = |name: &str, value: &str| (format!("MUNDOTANGO__{name}"), value.to_owned());
    let rate = own("AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0");
    let traces = ratio.map(|ratio| {
        [
            own("TRACES__ENDPOINT", &format!("http://{collector}")),
            own("TRACES__RATIO", ratio),
            // Dropping would be cheaper than sending.
            own("TRACES__QUEUE_SPANS", "100000"),
        ]
    });
    traces.into_iter().flatten().chain([rate]).collect()
}

/// A collector that reads what comes and says that all is well; its CPU is not the node's.
fn sink() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || take_all(connection));
        }
    });
    Ok(address)
}

/// Answers the requests of one connection until it ends.
fn take_all(connection: TcpStream) -> Option<()> {
    let mut answers = connection.try_clone().ok()?;
    let mut requests = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut requests).take(length), &mut std::io::sink()).ok()?;
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}
