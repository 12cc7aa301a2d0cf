//! The port: accepts clients, opens their sessions, and lets none of them hurt another.
//!
//! Place in the flow: `main` listens and spawns [`Server::serve`]; each client becomes a task of its own.
//! Invariants: a client that has not authenticated holds little memory and little time; at most
//! [`CONNECTIONS_MAX`] sessions exist; when the server ends, each client is told.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pgwire::messages::startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_common::{Error, Result, SqlState};
use weir_table::{Environment, Session, SessionOptions, TransactionStatus};

use super::auth::AuthPolicy;
use super::backends::{Backends, Registration, Slot};
use super::connection::{Connection, admin_shutdown};
use super::report::{self, Severity};
use super::startup::{self, Opening, Request};
use super::wire::{ReadFailure, Reader, Writer};
use crate::shutdown::Watch;

/// Most sessions at a time, as in PostgreSQL.
const CONNECTIONS_MAX: usize = 100;
/// Most clients that have connected and not said yet who they are.
const HANDSHAKES_MAX: usize = 256;
/// How long saying who they are may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// The only database and role there are.
const NAME: &str = "weir";

/// Serves an engine to PostgreSQL clients.
pub struct Server {
    env: Arc<Environment>,
    auth: AuthPolicy,
    backends: Arc<Backends>,
    handshakes: Arc<Semaphore>,
    watch: Watch,
}

/// Opens the port.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    open().map_err(|e| {
        Error::new(SqlState::IO_ERROR, format!("could not listen on {address}: {e}"))
            .with_hint("Choose another address with --listen HOST:PORT.")
    })
}

impl Server {
    pub fn new(env: Arc<Environment>, auth: AuthPolicy, watch: Watch) -> Arc<Server> {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Arc::new(Server { env, auth, backends: Backends::new(CONNECTIONS_MAX), handshakes, watch })
    }

    /// Accepts clients until the server ends, then waits for each to take its goodbye.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut clients = JoinSet::new();
        let mut watch = self.watch.clone();
        loop {
            tokio::select! {
                biased;
                () = watch.ended() => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        clients.spawn(Arc::clone(&self).client(socket, peer));
                    }
                    // Out of file descriptors, most likely: those who are connected go on, new ones wait.
                    Err(error) => {
                        tracing::warn!("a client could not be accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(ended) = clients.join_next() => log_panic(ended),
            }
        }
        drop(listener);
        while let Some(ended) = clients.join_next().await {
            log_panic(ended);
        }
    }

    /// One client, from its first byte to its last.
    async fn client(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let Ok(_handshake) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            tracing::warn!("too many clients that have not said who they are; {peer} was turned away");
            return;
        };
        if let Err(error) = prepare_socket(&socket) {
            tracing::debug!("{peer}: {error}");
            return;
        }
        let (read, write) = socket.into_split();
        let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
        let mut watch = self.watch.clone();
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(HANDSHAKE_TIME, self.greet(&mut reader, &mut writer, peer.ip())) => {
                greeted.unwrap_or(Err(ReadFailure::Closed))
            }
            () = watch.ended() => Err(ReadFailure::Fatal(admin_shutdown())),
        };
        drop(_handshake);
        match greeted {
            Ok(Some(Greeted { session, registration, slot })) => {
                Connection::new(reader, writer, session, registration, watch).run().await;
                drop(slot);
            }
            Ok(None) | Err(ReadFailure::Closed) => {}
            Err(ReadFailure::Fatal(error)) => {
                tracing::debug!("{peer} was refused: {error:?}");
                writer.send(&report::error(Severity::Fatal, &error));
                // The client may have gone without listening.
                let _ = tokio::time::timeout(Duration::from_secs(1), writer.close()).await;
            }
        }
    }

    /// Finds out what the client wants; a session if that is what it wants and may have.
    async fn greet(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
        address: IpAddr,
    ) -> Result<Option<Greeted>, ReadFailure> {
        let request = match startup::open(reader, writer).await? {
            Opening::Session(request) => request,
            Opening::Cancel { pid, secret } => {
                self.backends.cancel(pid, &secret);
                return Ok(None);
            }
        };
        let slot = self.backends.take_slot().map_err(ReadFailure::Fatal)?;
        if let Some(negotiation) = startup::negotiate(&request) {
            writer.send(&negotiation);
        }
        self.auth.authenticate(&request.user, reader, writer).await?;
        check_names(&request).map_err(ReadFailure::Fatal)?;
        let long_secret = request.minor >= 2;
        let session = self.env.session(SessionOptions {
            user: request.user,
            database: request.database,
            parameters: request.parameters,
            client_address: Some(address.to_string()),
        });
        let session = session.map_err(ReadFailure::Fatal)?;
        let registration = self.backends.register(session.backend_pid(), if long_secret { 32 } else { 4 });
        welcome(writer, &session, &registration);
        writer.flush().await.map_err(|_| ReadFailure::Closed)?;
        Ok(Some(Greeted { session, registration, slot }))
    }
}

/// What a client has once it is let in.
struct Greeted {
    session: Session,
    registration: Registration,
    slot: Slot,
}

fn welcome(writer: &mut Writer, session: &Session, registration: &Registration) {
    writer.send(&Authentication::Ok);
    for (name, value) in session.reported_parameters() {
        writer.send(&ParameterStatus::new(name.to_string(), value));
    }
    let secret = SecretKey::Bytes(registration.backend.secret.clone());
    writer.send(&BackendKeyData::new(session.backend_pid(), secret));
    writer.send(&report::ready(TransactionStatus::Idle));
}

fn check_names(request: &Request) -> Result<()> {
    if request.user != NAME {
        return Err(Error::new(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            format!("role \"{}\" does not exist", request.user),
        )
        .with_hint("Connect as role weir: psql -U weir weir"));
    }
    if request.database != NAME {
        return Err(Error::new(
            SqlState::INVALID_CATALOG_NAME,
            format!("database \"{}\" does not exist", request.database),
        )
        .with_hint("The only database is weir: psql -U weir weir"));
    }
    Ok(())
}

/// Answers go out at once; a peer that has vanished is noticed within two minutes.
fn prepare_socket(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(socket).set_tcp_keepalive(&keepalive.with_retries(4))
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended by a defect: {error}");
    }
}
