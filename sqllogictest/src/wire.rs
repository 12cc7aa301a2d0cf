//! A small PostgreSQL client: text results over the simple and the extended protocol, no authentication.
//!
//! Place in the flow: `run` sends SQL through it. Drivers ask for binary results in the extended protocol; a
//! suite compares text, which is why this client is our own.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::Result;

/// Longest wait for any message of a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the two ways a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
}

impl Protocol {
    /// The name that `skipif` and `onlyif` know.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
        }
    }
}

/// An open session.
pub struct Connection {
    socket: BufReader<Box<dyn Socket>>,
}

trait Socket: Read + Write + Send {}

impl Socket for TcpStream {}

impl Socket for UnixStream {}

/// Where to connect, as whom.
#[derive(Clone, Debug)]
pub struct Address {
    /// A name, or the folder of a Unix socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
}

/// What a statement gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Values as text; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many columns were described.
    pub columns: usize,
    /// The command tag, such as `INSERT 0 3`.
    pub tag: String,
}

/// How a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    pub code: String,
    pub message: String,
}

impl Address {
    /// Reads `postgresql://user@host:port/database`; what is left out is `weir`, `127.0.0.1`, 5432.
    pub fn parse(url: &str) -> Result<Address> {
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
        let rest = rest.ok_or_else(|| format!("{url}: expected postgresql://user@host:port/database"))?;
        let (place, database) = rest.split_once('/').unwrap_or((rest, "weir"));
        let (user, place) = place.split_once('@').unwrap_or(("weir", place));
        let (host, port) = place.split_once(':').unwrap_or((place, "5432"));
        let port = port.parse().map_err(|_| format!("{url}: invalid port"))?;
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Address { host: host.into(), port, user: user.into(), database: database.into() })
    }
}

impl Connection {
    /// Connects and waits until the server is ready.
    pub fn open(address: &Address) -> Result<Connection> {
        let mut connection = Connection { socket: BufReader::new(connect(address)?) };
        let body = format!("\0\u{3}\0\0user\0{}\0database\0{}\0\0", address.user, address.database);
        let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
        packet.extend_from_slice(body.as_bytes());
        connection.write(&packet)?;
        match connection.answer()? {
            Ok(_) => Ok(connection),
            Err(error) => Err(format!("could not connect: {} {}", error.code, error.message)),
        }
    }

    /// Runs a statement; the outer error is a broken connection.
    pub fn run(&mut self, sql: &str, protocol: Protocol) -> Result<Result<Answer, SqlError>> {
        let mut bytes = Vec::new();
        match protocol {
            Protocol::Simple => message(&mut bytes, b'Q', &[sql.as_bytes(), b"\0"]),
            Protocol::Extended => {
                message(&mut bytes, b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"]);
                message(&mut bytes, b'B', &[&[0; 8]]);
                message(&mut bytes, b'D', &[b"P\0"]);
                message(&mut bytes, b'E', &[&[0; 5]]);
                message(&mut bytes, b'S', &[]);
            }
        }
        self.write(&bytes)?;
        self.answer()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.get_mut().write_all(bytes).map_err(failed("send"))
    }

    /// Reads messages up to ReadyForQuery.
    fn answer(&mut self) -> Result<Result<Answer, SqlError>> {
        let mut answer = Answer::default();
        let mut error = None;
        loop {
            let (kind, body) = match self.message() {
                Ok(message) => message,
                // A server that refuses a session says why and closes.
                Err(_) if error.is_some() => break,
                Err(broken) => return Err(broken),
            };
            match kind {
                b'T' => {
                    answer.rows.clear();
                    answer.columns = usize::from(u16::from_be_bytes([body[0], body[1]]));
                }
                b'D' => answer.rows.push(data_row(&body)?),
                b'C' => answer.tag = text(body.strip_suffix(b"\0").unwrap_or(&body)),
                b'E' => error = Some(error_response(&body)),
                b'R' if body.get(..4) != Some(&[0; 4]) => return Err("the server demands a password".into()),
                b'Z' => break,
                _ => {}
            }
        }
        Ok(error.map_or(Ok(answer), Err))
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).map_err(failed("receive"))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.checked_sub(4).ok_or("a message of negative length")?];
        self.socket.read_exact(&mut body).map_err(failed("receive"))?;
        Ok((head[0], body))
    }
}

fn connect(address: &Address) -> Result<Box<dyn Socket>> {
    if address.host.starts_with('/') {
        let path = Path::new(&address.host).join(format!(".s.PGSQL.{}", address.port));
        let socket = UnixStream::connect(path).map_err(failed("connect"))?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed("set a timeout"))?;
        return Ok(Box::new(socket));
    }
    let socket = TcpStream::connect((address.host.as_str(), address.port)).map_err(failed("connect"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed("set a timeout"))?;
    socket.set_nodelay(true).map_err(failed("set nodelay"))?;
    Ok(Box::new(socket))
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("could not {what}: {error}")
}

fn message(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend_from_slice(&(length as u32 + 4).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn data_row(body: &[u8]) -> Result<Vec<Option<String>>> {
    let short = || "a data row that is too short".to_string();
    let mut rest = body.get(2..).ok_or_else(short)?;
    let mut row = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        rest = tail;
        row.push(match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => None,
            Ok(length) => {
                let (value, tail) = rest.split_at_checked(length).ok_or_else(short)?;
                rest = tail;
                Some(text(value))
            }
        });
    }
    Ok(row)
}

fn error_response(body: &[u8]) -> SqlError {
    let field = |code: u8| {
        let fields = body.split(|byte| *byte == 0);
        fields
            .filter_map(|field| field.split_first())
            .find(|(first, _)| **first == code)
            .map(|(_, rest)| text(rest))
    };
    SqlError { code: field(b'C').unwrap_or_default(), message: field(b'M').unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let address = Address::parse("postgresql://me@example:77/db").unwrap();
        assert_eq!((address.user.as_str(), address.host.as_str()), ("me", "example"));
        assert_eq!((address.port, address.database.as_str()), (77, "db"));
        let address = Address::parse("postgres://:5454").unwrap();
        assert_eq!((address.host.as_str(), address.database.as_str()), ("127.0.0.1", "weir"));
        assert!(Address::parse("localhost").is_err());
    }

    #[test]
    fn rows_and_errors_are_read() {
        let row = data_row(b"\0\x02\0\0\0\x01x\xff\xff\xff\xff").unwrap();
        assert_eq!(row, [Some("x".to_string()), None]);
        assert!(data_row(b"\0\x01\0\0\0\x09x").is_err());
        let error = error_response(b"SERROR\0C42601\0Mbad\0\0");
        assert_eq!((error.code.as_str(), error.message.as_str()), ("42601", "bad"));
    }
}
