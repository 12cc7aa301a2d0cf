//! The socket of one client, as a [`Reader`] of messages and a [`Writer`] of messages.
//!
//! Place in the flow: below everything else in this folder. Invariants: reading and flushing may be cancelled at
//! any await without losing or repeating a byte; memory for a message grows with the bytes that arrived, not
//! with the length it claims.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use weir_common::{Error, Result, SqlState};

use super::frontend::{self, FrontendMessage};

/// Longest startup packet, as in PostgreSQL.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Bytes read ahead of a client that pipelines while a statement runs.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
/// Output is written to the socket when it reaches this size, whether or not someone asks for it.
pub const FLUSH_BYTES: usize = 64 << 10;

/// Why reading stopped.
#[derive(Debug)]
pub enum ReadFailure {
    /// The client has gone, or the network has.
    Closed,
    /// The bytes cannot be split into messages; the connection is of no use any more.
    Fatal(Error),
}

/// A message of a client: its type and its undecoded body.
pub struct RawMessage {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// The receiving half.
pub struct Reader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    ended: bool,
}

impl Reader {
    pub fn new(socket: OwnedReadHalf) -> Reader {
        Reader { socket, buffer: BytesMut::with_capacity(8 << 10), ended: false }
    }

    /// The next packet before the session starts: a length, then the body, which is returned.
    pub async fn startup_packet(&mut self) -> Result<Bytes, ReadFailure> {
        self.fill(4).await?;
        let length = (&self.buffer[..4]).get_i32();
        let length = usize::try_from(length).ok().filter(|n| (8..=STARTUP_BYTES_MAX).contains(n));
        let Some(length) = length else {
            return Err(ReadFailure::Fatal(violation("invalid length of startup packet")));
        };
        self.fill(length).await?;
        let mut packet = self.buffer.split_to(length);
        packet.advance(4);
        Ok(packet.freeze())
    }

    /// The next message of a running session.
    pub async fn message(&mut self) -> Result<RawMessage, ReadFailure> {
        self.fill(5).await?;
        let (kind, length) = frame(&self.buffer).map_err(ReadFailure::Fatal)?;
        self.fill(1 + length).await?;
        let mut packet = self.buffer.split_to(1 + length);
        packet.advance(5);
        Ok(RawMessage { kind, body: packet.freeze() })
    }

    /// Whether bytes have arrived that nobody has read yet.
    pub fn has_unread(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether the messages that have arrived contain another statement before the next Sync.
    pub fn more_before_sync(&self) -> bool {
        let mut rest = &self.buffer[..];
        while rest.len() >= 5 {
            let Ok((kind, length)) = frame(rest) else { return false };
            match kind {
                frontend::PARSE | frontend::BIND | frontend::EXECUTE => return true,
                frontend::SYNC | frontend::QUERY | frontend::TERMINATE => return false,
                _ if rest.len() > length => rest = &rest[1 + length..],
                _ => return false,
            }
        }
        false
    }

    /// Resolves when the client has gone. Reads ahead to notice it, up to a limit.
    pub async fn gone(&mut self) {
        while !self.ended {
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                return std::future::pending().await;
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => self.ended = true,
                Ok(_) => {}
            }
        }
    }

    /// Reads until the buffer has this many bytes.
    async fn fill(&mut self, bytes: usize) -> Result<(), ReadFailure> {
        while self.buffer.len() < bytes {
            if self.ended {
                return Err(ReadFailure::Closed);
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => self.ended = true,
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// The type and the length (which counts itself, not the type) of the message that starts here.
fn frame(bytes: &[u8]) -> Result<(u8, usize)> {
    let kind = bytes[0];
    let length = (&bytes[1..5]).get_i32();
    let Some(longest) = frontend::longest(kind) else {
        return Err(violation(format!("invalid frontend message type {kind}")));
    };
    match usize::try_from(length) {
        Ok(length) if (4..=longest).contains(&length) => Ok((kind, length)),
        Ok(length) if length > longest && longest == frontend::LONG_BYTES_MAX => Err(Error::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("a message of {length} bytes is longer than the limit of {longest} bytes"),
        )),
        _ => Err(violation("invalid message length")),
    }
}

/// 08P01.
pub fn violation(message: impl Into<String>) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// The sending half: messages collect in a buffer until they are flushed.
pub struct Writer {
    socket: OwnedWriteHalf,
    /// Whole messages, not yet written. Row encoding appends to it directly.
    pub buffer: BytesMut,
}

impl Writer {
    pub fn new(socket: OwnedWriteHalf) -> Writer {
        Writer { socket, buffer: BytesMut::with_capacity(8 << 10) }
    }

    /// Appends a message. One that is longer than the protocol allows is left out, and logged.
    pub fn send(&mut self, message: &impl Message) {
        let start = self.buffer.len();
        if let Err(error) = message.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            tracing::warn!("a message to a client was left out: {error}");
        }
    }

    /// Bytes that wait to be flushed.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Writes everything to the socket.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            if self.socket.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Writes everything and ends the stream.
    pub async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.socket.shutdown().await
    }
}

impl RawMessage {
    /// The message, or the error to tell the client; the connection goes on after it.
    pub fn decode(self) -> Result<FrontendMessage> {
        FrontendMessage::decode(self.kind, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    async fn reader_of(bytes: &[u8]) -> Reader {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes).await.unwrap();
        drop(client);
        Reader::new(listener.accept().await.unwrap().0.into_split().0)
    }

    #[tokio::test]
    async fn messages_are_split_and_the_end_is_seen() {
        let mut reader = reader_of(b"Q\0\0\0\x06x\0S\0\0\0\x04").await;
        let first = reader.message().await.unwrap();
        assert_eq!((first.kind, &first.body[..]), (b'Q', &b"x\0"[..]));
        assert_eq!(reader.message().await.unwrap().kind, b'S');
        assert!(matches!(reader.message().await, Err(ReadFailure::Closed)));
    }

    #[tokio::test]
    async fn lengths_are_checked_before_they_are_believed() {
        for bytes in
            [&b"Q\x7f\xff\xff\xff"[..], b"S\0\0\0\x03", b"S\xff\xff\xff\xff", b"E\0\x10\0\0", b"?\0\0\0\x04"]
        {
            let failure = reader_of(bytes).await.message().await.err().unwrap();
            assert!(matches!(failure, ReadFailure::Fatal(_)), "{bytes:?}: {failure:?}");
        }
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x07", b"\0\0\x27\x11"] {
            let failure = reader_of(bytes).await.startup_packet().await.err().unwrap();
            assert!(matches!(failure, ReadFailure::Fatal(_)), "{bytes:?}: {failure:?}");
        }
    }

    #[tokio::test]
    async fn a_pipeline_is_seen_up_to_its_sync() {
        let mut reader = reader_of(b"C\0\0\0\x06S\0E\0\0\0\x09\0\0\0\0\0").await;
        reader.gone().await;
        assert!(reader.more_before_sync());
        let mut reader = reader_of(b"H\0\0\0\x04S\0\0\0\x04E\0\0\0\x09\0\0\0\0\0").await;
        reader.gone().await;
        assert!(!reader.more_before_sync());
    }
}
