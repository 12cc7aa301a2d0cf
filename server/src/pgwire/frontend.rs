//! Messages of clients, decoded from their bodies.
//!
//! Place in the flow: `wire::Reader` splits the stream into frames; here a frame becomes a [`FrontendMessage`].
//! Invariant: any body gives a message or an error (08P01; 22021 for text that is not UTF-8), never a panic, and
//! nothing is allocated by a count before the bytes that it counts are there.

use bytes::{Buf, Bytes};
use weir_common::{Error, Result, SqlState};

use super::wire::violation;

/// Type bytes that others look for.
pub const QUERY: u8 = b'Q';
pub const PARSE: u8 = b'P';
pub const BIND: u8 = b'B';
pub const EXECUTE: u8 = b'E';
pub const SYNC: u8 = b'S';
pub const TERMINATE: u8 = b'X';
pub const COPY_DATA: u8 = b'd';
pub const COPY_DONE: u8 = b'c';
/// What carries passwords and SASL replies.
pub const PASSWORD: u8 = b'p';

/// Longest message that carries SQL, parameters or data.
pub const LONG_BYTES_MAX: usize = 256 << 20;
/// Longest message of any other type, as in PostgreSQL.
const SHORT_BYTES_MAX: usize = 10_000;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum FrontendMessage {
    Query(String),
    Parse {
        name: String,
        query: String,
        param_types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close(Target),
    Flush,
    Sync,
    FunctionCall,
    Terminate,
    /// Text of a COPY; like the next two ignored when no COPY is under way, because one has failed.
    CopyData(Bytes),
    CopyDone,
    /// The client gives a COPY up, and says why.
    CopyFail(String),
    /// A password where none was asked for.
    Password,
}

/// Parameters for a prepared statement, making a portal.
#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    /// 0 text, 1 binary; none: all text; one: for all parameters.
    pub param_formats: Vec<i16>,
    /// `None` is NULL.
    pub params: Vec<Option<Bytes>>,
    /// As `param_formats`, for the result columns.
    pub result_formats: Vec<i16>,
}

/// What Describe and Close name.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Statement(String),
    Portal(String),
}

/// The longest length a message of this type may claim; `None` for a type that does not exist.
pub fn longest(kind: u8) -> Option<usize> {
    match kind {
        QUERY | PARSE | BIND | b'F' | COPY_DATA => Some(LONG_BYTES_MAX),
        EXECUTE | SYNC | TERMINATE | PASSWORD | b'C' | b'D' | b'H' | b'c' | b'f' => Some(SHORT_BYTES_MAX),
        _ => None,
    }
}

impl FrontendMessage {
    /// Decodes the body of a message of this type.
    pub fn decode(kind: u8, body: Bytes) -> Result<FrontendMessage> {
        let mut body = Body(body);
        let message = match kind {
            QUERY => FrontendMessage::Query(body.string()?),
            PARSE => FrontendMessage::Parse {
                name: body.string()?,
                query: body.string()?,
                param_types: body.list(4, Body::u32)?,
            },
            BIND => FrontendMessage::Bind(body.bind()?),
            b'D' => FrontendMessage::Describe(body.target("DESCRIBE")?),
            b'C' => FrontendMessage::Close(body.target("CLOSE")?),
            EXECUTE => FrontendMessage::Execute { portal: body.string()?, max_rows: body.u32()? as i32 },
            b'H' => FrontendMessage::Flush,
            SYNC => FrontendMessage::Sync,
            TERMINATE => FrontendMessage::Terminate,
            b'F' => return Ok(FrontendMessage::FunctionCall),
            COPY_DATA => return Ok(FrontendMessage::CopyData(body.0)),
            COPY_DONE => FrontendMessage::CopyDone,
            b'f' => FrontendMessage::CopyFail(body.string()?),
            PASSWORD => return Ok(FrontendMessage::Password),
            other => return Err(violation(format!("invalid frontend message type {other}"))),
        };
        body.end()?;
        Ok(message)
    }
}

/// A message body that is read from the front, with every read checked.
pub struct Body(pub Bytes);

impl Body {
    /// A string up to its zero byte.
    pub fn string(&mut self) -> Result<String> {
        let end =
            self.0.iter().position(|b| *b == 0).ok_or_else(|| violation("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        utf8(&text).map(str::to_string)
    }

    pub fn u32(&mut self) -> Result<u32> {
        if self.0.len() < 4 { Err(short()) } else { Ok(self.0.get_u32()) }
    }

    fn i16(&mut self) -> Result<i16> {
        if self.0.len() < 2 { Err(short()) } else { Ok(self.0.get_i16()) }
    }

    /// A 16-bit count, then so many items of `bytes` bytes each.
    fn list<T>(&mut self, bytes: usize, item: fn(&mut Body) -> Result<T>) -> Result<Vec<T>> {
        let count = usize::from(self.i16()? as u16);
        if self.0.len() < count * bytes {
            return Err(short());
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// A 32-bit length, then so many bytes; −1 is NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>> {
        match self.u32()? as i32 {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= self.0.len() => Ok(Some(self.0.split_to(length))),
                _ => Err(short()),
            },
        }
    }

    fn bind(&mut self) -> Result<Bind> {
        Ok(Bind {
            portal: self.string()?,
            statement: self.string()?,
            param_formats: self.list(2, Body::i16)?,
            params: self.list(4, Body::value)?,
            result_formats: self.list(2, Body::i16)?,
        })
    }

    fn target(&mut self, message: &str) -> Result<Target> {
        if self.0.is_empty() {
            return Err(short());
        }
        match self.0.get_u8() {
            b'S' => Ok(Target::Statement(self.string()?)),
            b'P' => Ok(Target::Portal(self.string()?)),
            other => Err(violation(format!("invalid {message} message subtype {other}"))),
        }
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(violation("invalid message format")) }
    }
}

fn short() -> Error {
    violation("insufficient data left in message")
}

/// Text of a client; 22021 in PostgreSQL's words when it is not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let bad = &bytes[error.valid_up_to()..];
        let shown =
            bad.iter().take(error.error_len().unwrap_or(bad.len()).max(1)).map(|b| format!("0x{b:02x}"));
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.collect::<Vec<_>>().join(" ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(kind: u8, body: &'static [u8]) -> Result<FrontendMessage> {
        FrontendMessage::decode(kind, Bytes::from_static(body))
    }

    #[test]
    fn a_bind_with_everything() {
        let message = decode(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\0").unwrap();
        let FrontendMessage::Bind(bind) = message else { panic!("{message:?}") };
        assert_eq!((bind.portal.as_str(), bind.statement.as_str()), ("p", "s"));
        assert_eq!(bind.params, [Some(Bytes::from_static(b"x")), None]);
        assert_eq!((bind.param_formats, bind.result_formats), (vec![1], vec![0]));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bodies: [(u8, &[u8]); 4] = [
            (b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x01x\0\x01\0\0"),
            (b'P', b"n\0select\0\0\x01\0\0\0\x17"),
            (b'E', b"p\0\0\0\0\x05"),
            (b'D', b"Sname\0"),
        ];
        for (kind, body) in bodies {
            assert!(decode(kind, body).is_ok());
            for end in 0..body.len() {
                let error = decode(kind, &body[..end]).unwrap_err();
                assert_eq!(error.state(), SqlState::PROTOCOL_VIOLATION, "{kind} {end}");
            }
        }
    }

    #[test]
    fn a_count_beyond_the_message_allocates_nothing() {
        assert!(decode(b'P', b"\0x\0\xff\xff").is_err());
        assert!(decode(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff").is_err());
    }

    #[test]
    fn text_that_is_not_utf8_is_22021() {
        let error = decode(b'Q', b"select '\xff'\0").unwrap_err();
        assert_eq!(error.state(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
        assert_eq!(error.message(), "invalid byte sequence for encoding \"UTF8\": 0xff");
    }
}
