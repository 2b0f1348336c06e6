//! A far store: a proxy to a CQL server that holds each answer for a while, however many are under way.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Pieces that are under way in one direction of a connection; more wait in the sender's socket.
const UNDER_WAY: usize = 1024;
/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// Starts such a proxy, which lasts as long as this process; where it is.
pub(super) fn proxy(server: SocketAddr, delay: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection that fails is its client's to make again.
            let _ = link(&client, server, delay);
        }
    });
    Ok(address)
}

fn link(client: &TcpStream, server: SocketAddr, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    pass_on(client.try_clone()?, server.try_clone()?, Duration::ZERO);
    pass_on(server, client.try_clone()?, delay);
    Ok(())
}

/// Passes on what comes, each piece after the delay.
fn pass_on(mut from: TcpStream, to: TcpStream, delay: Duration) {
    let (pieces, held): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(UNDER_WAY);
    thread::spawn(move || write(to, &held));
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if pieces.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

fn write(mut to: TcpStream, held: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((at, piece)) = held.recv() {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_late_and_whole_and_side_by_side() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            for number in 0..20_u8 {
                stream.write_all(&[number]).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let delay = Duration::from_millis(200);
        let start = Instant::now();
        let mut client = TcpStream::connect(proxy(address, delay).unwrap()).unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        // One after the other they would take four seconds.
        assert!(start.elapsed() >= delay && start.elapsed() < delay * 10, "{:?}", start.elapsed());
    }
}
