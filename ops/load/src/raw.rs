//! The machine's own limit: one thread that sends the same bytes once to each of many loopback sockets, and nothing
//! else. What a server needs beyond that for a delivery is its own doing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;

/// Opens the sockets, sends, and gives sends a second of the sending thread's CPU time.
pub(crate) fn sends_per_cpu_second(sockets: usize, bytes: usize, rounds: usize) -> anyhow::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let program = std::env::current_exe()?;
    // Readers are another process, as they are for a server.
    let mut reader = std::process::Command::new(program)
        .args(["raw-reader", &address.to_string(), &sockets.to_string()])
        .stdin(std::process::Stdio::piped())
        .spawn()?;
    let mut streams = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let payload = vec![b'x'; bytes];
    let before = thread_cpu_nanos()?;
    for _ in 0..rounds {
        for stream in &mut streams {
            stream.write_all(&payload)?;
        }
        // A server's rounds have a pause between them too, in which the readers catch up.
        std::thread::sleep(Duration::from_millis(200));
    }
    let nanos = thread_cpu_nanos()? - before;
    drop(streams);
    drop(reader.stdin.take());
    reader.wait()?;
    Ok((sockets * rounds) as f64 * 1e9 / nanos as f64)
}

/// Nanoseconds that the calling thread has been on a CPU.
fn thread_cpu_nanos() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().context("schedstat is empty")?.parse()?)
}

/// The other end: reads everything until the parent closes.
pub(crate) fn read(address: SocketAddr, sockets: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut reading = tokio::task::JoinSet::new();
        for _ in 0..sockets {
            let stream = TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            let mut stream = tokio::net::TcpStream::from_std(stream)?;
            reading.spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            });
        }
        while reading.join_next().await.is_some() {}
        anyhow::Ok(())
    })?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}
