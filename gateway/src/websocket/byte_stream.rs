//! The bytes below a WebSocket, over TCP or TLS. Neither of the two needs a task of its own: whoever has something to
//! write encrypts and writes it, under the connection's lock.

use std::io::{self, IoSlice, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio_util::either::Either;

use crate::tls::Stream;

/// More than one record of TLS holds, so a read never leaves decrypted bytes behind.
const RECORD_BYTES: usize = 32 * 1024;

/// A connection that any task may write to without waiting.
pub(super) enum ByteStream {
    Plain(TcpStream),
    Tls(Box<TlsConnection>),
}

pub(super) struct TlsConnection {
    stream: TcpStream,
    session: Mutex<ServerConnection>,
}

/// The TCP connection as rustls wants it.
struct Tcp<'a>(&'a TcpStream);

impl io::Read for Tcp<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Tcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ByteStream {
    /// Takes over a connection from HTTP. `first` came behind the request; the result has what TLS had decrypted besides.
    pub(super) fn take_over(stream: Stream, first: Bytes) -> io::Result<(Self, Bytes)> {
        match stream {
            Either::Left(stream) => Ok((Self::Plain(stream), first)),
            Either::Right(stream) => {
                let (stream, mut session) = stream.into_inner();
                let mut all = BytesMut::from(first);
                let mut buffer = vec![0; RECORD_BYTES];
                loop {
                    match session.reader().read(&mut buffer) {
                        Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        Ok(0) | Err(_) => break,
                    }
                }
                let tls = TlsConnection { stream, session: Mutex::new(session) };
                Ok((Self::Tls(Box::new(tls)), all.freeze()))
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.stream,
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.tcp().readable().await
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Reads what is there. The buffer has to hold [`RECORD_BYTES`].
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(buffer),
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    /// Writes as far as the kernel takes it. Over TLS a part of what was taken may be [unsent](Self::has_unsent).
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write_vectored(slices),
            Self::Tls(tls) => tls.try_write_vectored(slices),
        }
    }

    /// Whether encrypted bytes wait for the kernel.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.session.lock().wants_write(),
        }
    }

    /// Writes encrypted bytes as far as the kernel takes them.
    pub(super) fn try_send_unsent(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.send(&mut tls.session.lock()),
        }
    }

    /// Tells the other end that nothing more comes.
    pub(super) fn shut_down(&self) {
        // The client may have ended the connection itself.
        if let Self::Tls(tls) = self {
            let mut session = tls.session.lock();
            session.send_close_notify();
            let _ = tls.send(&mut session);
        }
        let _ = socket2::SockRef::from(self.tcp()).shutdown(std::net::Shutdown::Write);
    }
}

impl TlsConnection {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        debug_assert!(buffer.len() >= RECORD_BYTES);
        let mut session = self.session.lock();
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if session.read_tls(&mut Tcp(&self.stream))? == 0 {
                return Ok(0);
            }
            let processed = session.process_new_packets();
            // An alert, or an answer of the protocol's own. What the kernel does not take now goes before the next write.
            match self.send(&mut session) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.lock();
        self.send(&mut session)?;
        let taken = session.writer().write_vectored(slices)?;
        match self.send(&mut session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn send(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            if session.write_tls(&mut Tcp(&self.stream))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}
