//! Who may connect: anyone on this machine, or whoever knows the password (SCRAM-SHA-256).
//!
//! Place in the flow: between the startup packet and the session. Invariants: the password itself is not kept,
//! only SCRAM's verifier; a server that listens beyond this machine always demands it.

use std::net::SocketAddr;

use bytes::Bytes;
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, gen_salted_password, random_nonce,
};
use pgwire::messages::startup::Authentication;
use weir_common::{Error, Result, SqlState};

use super::frontend::{Body, PASSWORD};
use super::wire::{ReadFailure, Reader, Writer, violation};

const MECHANISM: &str = "SCRAM-SHA-256";

/// How clients prove who they are.
pub enum AuthPolicy {
    /// They do not have to: only this machine can connect.
    Trust,
    /// By SCRAM-SHA-256.
    Password(Verifier),
}

/// What SCRAM stores in place of a password.
pub struct Verifier {
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl AuthPolicy {
    /// A password is demanded when there is one. Listening beyond this machine without one is refused.
    pub fn for_address(address: SocketAddr, password: Option<String>) -> Result<AuthPolicy> {
        match password {
            Some(password) => Ok(AuthPolicy::Password(Verifier::of(&password))),
            None if address.ip().is_loopback() => Ok(AuthPolicy::Trust),
            None => Err(Error::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                format!("listening on {address}, which other machines can reach, demands a password"),
            )
            .with_hint("Give --password-file FILE or set WEIR_PASSWORD, or listen on 127.0.0.1.")),
        }
    }

    /// Has the exchange with a client that says it is `user`; 28P01 when it fails.
    pub async fn authenticate(
        &self,
        user: &str,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> Result<(), ReadFailure> {
        match self {
            AuthPolicy::Trust => Ok(()),
            AuthPolicy::Password(verifier) => verifier.exchange(user, reader, writer).await,
        }
    }
}

impl Verifier {
    fn of(password: &str) -> Verifier {
        let salt = random_nonce().into_bytes();
        let salted = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
        match ScramSecret::verifier_from_salted_password(salt, salted, SCRAM_ITERATIONS) {
            ScramSecret::Verifier { salt, stored_key, server_key, .. } => {
                Verifier { salt, stored_key, server_key }
            }
            ScramSecret::SaltedPassword { .. } => {
                unreachable!("verifier_from_salted_password makes a verifier")
            }
        }
    }

    fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: SCRAM_ITERATIONS,
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }

    /// RFC 5802, over PostgreSQL's SASL messages.
    async fn exchange(
        &self,
        user: &str,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> Result<(), ReadFailure> {
        send(writer, Authentication::SASL(vec![MECHANISM.to_string()])).await?;
        let first = initial_response(password_message(reader).await?).map_err(ReadFailure::Fatal)?;
        let (reply, state) = ScramServerAuth::new()
            .on_client_first_message_with_secret(&first, self.secret())
            .map_err(|_| rejected(user))?;
        send(writer, Authentication::SASLContinue(Bytes::from(reply))).await?;
        let last = password_message(reader).await?;
        let reply = state.on_client_final_message(&last).map_err(|_| rejected(user))?;
        writer.send(&Authentication::SASLFinal(Bytes::from(reply)));
        Ok(())
    }
}

async fn send(writer: &mut Writer, message: Authentication) -> Result<(), ReadFailure> {
    writer.send(&message);
    writer.flush().await.map_err(|_| ReadFailure::Closed)
}

async fn password_message(reader: &mut Reader) -> Result<Bytes, ReadFailure> {
    let message = reader.message().await?;
    if message.kind == PASSWORD {
        Ok(message.body)
    } else {
        Err(ReadFailure::Fatal(violation(format!(
            "expected SASL response, got message type {}",
            message.kind
        ))))
    }
}

/// The client's first SCRAM message, from its SASLInitialResponse.
fn initial_response(body: Bytes) -> Result<Bytes> {
    let mut body = Body(body);
    if body.string()? != MECHANISM {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    body.value()?.ok_or_else(|| violation("malformed SASL message"))
}

fn rejected(user: &str) -> ReadFailure {
    ReadFailure::Fatal(Error::new(
        SqlState::INVALID_PASSWORD,
        format!("password authentication failed for user \"{user}\""),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_a_password() {
        let local = "127.0.0.1:5454".parse().unwrap();
        let open = "0.0.0.0:5454".parse().unwrap();
        assert!(matches!(AuthPolicy::for_address(local, None), Ok(AuthPolicy::Trust)));
        assert!(
            AuthPolicy::for_address(open, None).err().unwrap().hint().unwrap().contains("--password-file")
        );
        assert!(matches!(AuthPolicy::for_address(open, Some("x".into())), Ok(AuthPolicy::Password(_))));
    }

    #[test]
    fn only_the_offered_mechanism_is_taken() {
        assert!(initial_response(Bytes::from_static(b"PLAIN\0\0\0\0\x01x")).is_err());
        assert_eq!(&initial_response(Bytes::from_static(b"SCRAM-SHA-256\0\0\0\0\x01x")).unwrap()[..], b"x");
        assert!(initial_response(Bytes::from_static(b"SCRAM-SHA-256\0\x7f\xff\xff\xffx")).is_err());
    }
}
