//! What no well-behaved client sends. Each ends in a clear error, and nobody else notices.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::net::Shutdown;

use support::Server;
use support::raw::{Raw, Reply, error_code, packet, startup};

/// Sends bytes on a new connection and reads everything the server says before it closes.
fn answer_to(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::connect(port);
    raw.write(bytes);
    let _ = raw.0.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    // A reset instead of an orderly end is as good.
    let _ = raw.0.read_to_end(&mut answer);
    answer
}

fn says(answer: &[u8], code: &str) -> bool {
    String::from_utf8_lossy(answer).contains(&format!("\0C{code}\0"))
}

#[test]
fn garbage_instead_of_a_startup_packet() {
    let server = Server::start();
    let mut bystander = Raw::session(server.port);
    assert!(says(&answer_to(server.port, b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n"), "08P01"));
    for bytes in [&b"\0\0\0\0\0\0\0\0"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\x27\x11\0\x03\0\0"] {
        assert!(says(&answer_to(server.port, bytes), "08P01"), "{bytes:?}");
    }
    // Too short to be anything: closed without a word.
    assert_eq!(answer_to(server.port, b"\0\0"), b"");
    assert_eq!(answer_to(server.port, b""), b"");
    assert!(says(&answer_to(server.port, &startup(2 << 16, &[("user", "weir")])), "0A000"));
    assert!(says(&answer_to(server.port, &packet(b"\0\x03\0\0user\0weir")), "08P01"));
    assert!(says(&answer_to(server.port, &packet(b"\0\x03\0\0user\0\xff\xfe\0\0")), "22021"));
    assert!(says(&answer_to(server.port, &packet(b"\0\x03\0\0\0")), "28000"));
    assert!(bystander.query("SELECT 1").iter().any(|r| r.kind == 'D'));
}

#[test]
fn encryption_is_declined_and_plain_text_behind_the_request_refused() {
    let server = Server::start();
    for request in [80_877_103u32, 80_877_104] {
        let mut raw = Raw::connect(server.port);
        raw.write(&packet(&request.to_be_bytes()));
        assert_eq!(raw.byte(), b'N');
        raw.write(&startup(3 << 16, &[("user", "weir")]));
        assert_eq!(raw.replies().last().unwrap().kind, 'Z');

        let mut smuggled = packet(&request.to_be_bytes());
        smuggled.extend(startup(3 << 16, &[("user", "weir")]));
        assert!(says(&answer_to(server.port, &smuggled), "08P01"));
    }
}

#[test]
fn only_role_and_database_weir_exist() {
    let server = Server::start();
    for (user, database, code) in [("root", "weir", "28000"), ("weir", "postgres", "3D000")] {
        let mut raw = Raw::connect(server.port);
        raw.write(&startup(3 << 16, &[("user", user), ("database", database)]));
        let replies = raw.replies();
        assert_eq!(error_code(&replies), code);
        assert_eq!(replies.last().unwrap().field('S').unwrap(), "FATAL");
    }
}

#[test]
fn newer_protocols_are_negotiated_down() {
    let server = Server::start();
    let mut raw = Raw::connect(server.port);
    raw.write(&startup((3 << 16) | 9999, &[("user", "weir"), ("_pq_.shiny", "on")]));
    let replies = raw.replies();
    assert_eq!(replies[0].kind, 'v');
    assert_eq!(replies[0].body[..8], [0, 3, 0, 2, 0, 0, 0, 1]);
    let key = replies.iter().find(|r| r.kind == 'K').unwrap();
    assert_eq!(key.body.len(), 4 + 32, "protocol 3.2 has long secrets");
}

#[test]
fn malformed_messages_fail_alone() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    raw.send('Q', b"SELECT '\xff'\0");
    assert_eq!(error_code(&raw.replies()), "22021");
    raw.send('Q', b"no terminator");
    assert_eq!(error_code(&raw.replies()), "08P01");
    raw.send('F', b"\0\0\0\x01");
    assert_eq!(error_code(&raw.replies()), "0A000");
    // In the extended protocol everything up to Sync is skipped.
    raw.send('B', b"\0\0\xff\xff");
    raw.send('E', b"\0\0\0\0\0");
    raw.send('S', b"");
    assert_eq!(raw.kinds(), "EZ");
    // Leftovers of a COPY are ignored.
    raw.send('d', b"data");
    raw.send('c', b"");
    assert!(raw.query("SELECT 1").iter().any(|r| r.kind == 'D'));
}

#[test]
fn frames_that_cannot_be_split_end_the_connection() {
    let server = Server::start();
    for bytes in
        [&b"?\0\0\0\x04"[..], b"Q\xff\xff\xff\xff", b"Q\x7f\xff\xff\xff", b"S\0\0\0\x00", b"E\0\0\xff\xff"]
    {
        let mut raw = Raw::session(server.port);
        raw.write(bytes);
        let replies = raw.replies();
        let fatal = replies.last().unwrap();
        assert_eq!(fatal.field('S').as_deref(), Some("FATAL"), "{bytes:?}");
        assert!(raw.reply().is_none());
    }
}

#[test]
fn a_cancel_request_with_a_wrong_secret_does_nothing() {
    let server = Server::start();
    let mut raw = Raw::session(server.port);
    let pid = raw.query("SELECT pg_backend_pid()").iter().find(|r| r.kind == 'D').map(Reply::values).unwrap();
    let pid: u32 = pid[0].as_ref().unwrap().parse().unwrap();
    let mut body = 80_877_102u32.to_be_bytes().to_vec();
    body.extend(pid.to_be_bytes());
    body.extend(b"????");
    assert_eq!(answer_to(server.port, &packet(&body)), b"");
    assert!(raw.query("SELECT 1").iter().any(|r| r.kind == 'D'));
}

#[test]
fn the_hundred_and_first_client_is_turned_away() {
    let server = Server::start();
    let mut sessions: Vec<Raw> = (0..100).map(|_| Raw::session(server.port)).collect();
    let mut raw = Raw::connect(server.port);
    raw.write(&startup(3 << 16, &[("user", "weir")]));
    assert_eq!(error_code(&raw.replies()), "53300");
    // A place that is left is free again.
    let mut leaving = sessions.pop().unwrap();
    leaving.send('X', b"");
    assert!(leaving.reply().is_none());
    drop(Raw::session(server.port));
}
