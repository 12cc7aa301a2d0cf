//! A client that speaks bytes, for what no well-behaved driver would send.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::DEADLINE;

/// A socket to the server.
pub struct Raw(pub TcpStream);

/// A message of the server: its type and its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: char,
    pub body: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing.
    pub fn connect(port: u16) -> Raw {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Raw(socket)
    }

    /// Connects and starts a session as role weir in database weir.
    pub fn session(port: u16) -> Raw {
        let mut raw = Raw::connect(port);
        raw.write(&startup(3 << 16, &[("user", "weir"), ("database", "weir")]));
        let ready = raw.replies();
        assert_eq!(ready.last().map(|r| r.kind), Some('Z'), "{ready:?}");
        raw
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        // A server that has closed already is seen when reading.
        let _ = self.0.write_all(bytes);
    }

    /// Sends a message of this type.
    pub fn send(&mut self, kind: char, body: &[u8]) {
        let mut message = vec![kind as u8];
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        self.write(&message);
    }

    /// Sends a Query.
    pub fn query(&mut self, sql: &str) -> Vec<Reply> {
        self.send('Q', format!("{sql}\0").as_bytes());
        self.replies()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// The next message; `None` when the server has closed.
    pub fn reply(&mut self) -> Option<Reply> {
        let mut head = [0; 5];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no reply in time")
            }
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).unwrap();
        Some(Reply { kind: head[0] as char, body })
    }

    /// Messages up to ReadyForQuery or the end of the connection.
    pub fn replies(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply() {
            let ready = reply.kind == 'Z';
            replies.push(reply);
            if ready {
                break;
            }
        }
        replies
    }

    /// The types of those messages, as one word; ParameterStatus left out.
    pub fn kinds(&mut self) -> String {
        self.replies().iter().map(|r| r.kind).filter(|kind| *kind != 'S').collect()
    }
}

impl Reply {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, code: char) -> Option<String> {
        let fields = self.body.split(|b| *b == 0);
        let field = fields.into_iter().find(|f| f.first() == Some(&(code as u8)))?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    }

    /// The values of a DataRow, as text.
    pub fn values(&self) -> Vec<Option<String>> {
        assert_eq!(self.kind, 'D');
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        while rest.len() >= 4 {
            let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
            rest = &rest[4..];
            match usize::try_from(length) {
                Err(_) => values.push(None),
                Ok(length) => {
                    values.push(Some(String::from_utf8_lossy(&rest[..length]).into_owned()));
                    rest = &rest[length..];
                }
            }
        }
        values
    }
}

/// A startup packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    packet(&body)
}

/// A packet without a type: a length, then the body.
pub fn packet(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// The SQLSTATE of the only error among these messages.
pub fn error_code(replies: &[Reply]) -> String {
    let errors: Vec<&Reply> = replies.iter().filter(|r| r.kind == 'E').collect();
    assert_eq!(errors.len(), 1, "{replies:?}");
    errors[0].field('C').unwrap()
}
