//! The first packets of a connection: encryption requests, a cancel request, or who wants to connect where.
//!
//! Place in the flow: `server` hands a new socket here; out comes what the client wants. Invariants: nothing that
//! arrived in plain text behind an encryption request is carried on (the pattern of CVE-2021-23214); a packet is
//! at most 10,000 bytes.

use bytes::{Buf, Bytes};
use pgwire::messages::startup::NegotiateProtocolVersion;
use weir_common::{Error, Result, SqlState};

use super::frontend::Body;
use super::wire::{ReadFailure, Reader, Writer, violation};

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// The newest minor version of protocol 3 that is spoken here.
const MINOR_MAX: u16 = 2;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// A session.
    Session(Request),
    /// An end to what another session runs.
    Cancel { pid: i32, secret: Bytes },
}

/// A startup packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub user: String,
    pub database: String,
    /// Settings, applied like SET: `application_name`, `TimeZone`, those in `options`, …
    pub parameters: Vec<(String, String)>,
    /// Minor version of protocol 3 asked for.
    pub minor: u16,
    /// `_pq_.` options, none of which is known here.
    pub unknown_options: Vec<String>,
}

/// Answers encryption requests until the client says what it wants.
pub async fn open(reader: &mut Reader, writer: &mut Writer) -> Result<Opening, ReadFailure> {
    // Each kind of encryption may be asked for once.
    for _ in 0..3 {
        let mut packet = reader.startup_packet().await?;
        match packet.get_u32() {
            SSL_REQUEST | GSS_REQUEST if reader.has_unread() => {
                let error = violation("received unencrypted data after encryption request")
                    .with_detail("This could be a bug in the client or an attack on the connection.");
                return Err(ReadFailure::Fatal(error));
            }
            SSL_REQUEST | GSS_REQUEST => {
                writer.buffer.extend_from_slice(b"N");
                writer.flush().await.map_err(|_| ReadFailure::Closed)?;
            }
            CANCEL_REQUEST if packet.len() >= 8 => {
                let pid = packet.get_i32();
                return Ok(Opening::Cancel { pid, secret: packet });
            }
            version => return request(version, packet).map(Opening::Session).map_err(ReadFailure::Fatal),
        }
    }
    Err(ReadFailure::Fatal(violation("too many encryption requests")))
}

/// What to tell a client that asked for more than there is; `None` when it did not.
pub fn negotiate(request: &Request) -> Option<NegotiateProtocolVersion> {
    if request.minor <= MINOR_MAX && request.unknown_options.is_empty() {
        return None;
    }
    let minor = request.minor.min(MINOR_MAX);
    Some(NegotiateProtocolVersion::new((3 << 16) | i32::from(minor), request.unknown_options.clone()))
}

fn request(version: u32, packet: Bytes) -> Result<Request> {
    let (major, minor) = ((version >> 16) as u16, version as u16);
    if major != 3 {
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}"),
        ));
    }
    let mut request = Request {
        user: String::new(),
        database: String::new(),
        parameters: Vec::new(),
        minor,
        unknown_options: Vec::new(),
    };
    let mut packet = Body(packet);
    loop {
        let name = packet.string().map_err(layout)?;
        if name.is_empty() {
            break;
        }
        let value = packet.string().map_err(layout)?;
        request.set(name, value)?;
    }
    if !packet.0.is_empty() {
        return Err(layout(violation("")));
    }
    if request.user.is_empty() {
        return Err(Error::new(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if request.database.is_empty() {
        request.database.clone_from(&request.user);
    }
    Ok(request)
}

/// Text errors stay what they are; anything else is a packet of the wrong shape.
fn layout(error: Error) -> Error {
    match error.state() {
        SqlState::CHARACTER_NOT_IN_REPERTOIRE => error,
        _ => violation("invalid startup packet layout: expected terminator as last byte"),
    }
}

impl Request {
    fn set(&mut self, name: String, value: String) -> Result<()> {
        match name.as_str() {
            "user" => self.user = value,
            "database" => self.database = value,
            "options" => self.parameters.extend(parse_options(&value)?),
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(Error::unsupported("replication protocol")),
            _ if name.starts_with("_pq_.") => self.unknown_options.push(name),
            _ => self.parameters.push((name, value)),
        }
        Ok(())
    }
}

/// Settings in a command line such as `-c search_path=a\ b --statement-timeout=5s`.
fn parse_options(options: &str) -> Result<Vec<(String, String)>> {
    let mut words = split_words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = if let Some(setting) = word.strip_prefix("--") {
            setting.to_string()
        } else if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(setting) = word.strip_prefix("-c") {
            setting.to_string()
        } else {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            ));
        };
        match setting.split_once('=') {
            Some((name, value)) => settings.push((name.replace('-', "_"), value.to_string())),
            None => return Err(Error::new(SqlState::SYNTAX_ERROR, format!("-c {setting} requires a value"))),
        }
    }
    Ok(settings)
}

/// Splits at blanks; a backslash takes the next character as it is.
fn split_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = words.len() - 1;
        match character {
            '\\' => words[last].extend(characters.next()),
            c if c.is_whitespace() => words.push(String::new()),
            c => words[last].push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(body: &'static [u8]) -> Result<Request> {
        request(3 << 16, Bytes::from_static(body))
    }

    #[test]
    fn the_database_is_the_user_unless_named() {
        let request = startup(b"user\0weir\0application_name\0psql\0\0").unwrap();
        assert_eq!((request.user.as_str(), request.database.as_str()), ("weir", "weir"));
        assert_eq!(request.parameters, [("application_name".to_string(), "psql".to_string())]);
        assert!(negotiate(&request).is_none());
    }

    #[test]
    fn options_become_settings() {
        let settings = parse_options(r"-c search_path=a\ b --statement-timeout=5s -cx=1").unwrap();
        let text: Vec<String> = settings.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(text, ["search_path=a b", "statement_timeout=5s", "x=1"]);
        assert!(parse_options("-c novalue").is_err());
        assert!(parse_options("stray").is_err());
    }

    #[test]
    fn wrong_shapes_are_errors() {
        assert_eq!(startup(b"database\0weir\0\0").unwrap_err().state().0, "28000");
        assert_eq!(startup(b"user\0weir").unwrap_err().state().0, "08P01");
        assert_eq!(startup(b"user\0weir\0\0extra").unwrap_err().state().0, "08P01");
        assert_eq!(startup(b"user\0\xff\0\0").unwrap_err().state().0, "22021");
        assert_eq!(request(2 << 16, Bytes::new()).unwrap_err().state().0, "0A000");
    }

    #[test]
    fn newer_minors_and_unknown_options_are_negotiated_down() {
        let mut request = startup(b"user\0weir\0_pq_.shiny\0on\0\0").unwrap();
        request.minor = 9999;
        let answer = negotiate(&request).unwrap();
        assert_eq!(
            (answer.newest_minor_protocol, answer.unsupported_options),
            (196_610, vec!["_pq_.shiny".to_string()])
        );
    }
}
