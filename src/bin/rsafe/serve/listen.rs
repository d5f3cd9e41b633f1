//! Connections in, and how the server ends: it takes no more, and lets those that are open end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

/// Connections that may be open; more wait to be taken.
const CONNECTIONS: usize = 1024;
/// A connection that has not sent the head of a request by then is closed.
const HEAD: Duration = Duration::from_secs(30);
/// Before a connection is taken again when the system gave none.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until a signal comes, and then for at most `drain`. Whether every request ended.
pub async fn serve(listener: TcpListener, app: Router, mut signals: Signals, drain: Duration) -> bool {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    {
        let mut told = pin!(signals.next());
        loop {
            let taken = pin!(async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            });
            let (place, stream) = match select(&mut told, taken).await {
                Either::Left(_) => break,
                Either::Right(((place, Ok((stream, _))), _)) => (place, stream),
                Either::Right(((_, Err(_)), _)) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Events leave as they are written. Where that cannot be, they come a little later.
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(app.clone());
            let watched = open.watch(server.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // A caller who breaks off is nobody's error.
                let _ = watched.await;
                drop(place);
            });
        }
    }
    drop(listener);
    let ended = pin!(tokio::time::timeout(drain, open.shutdown()));
    let again = pin!(signals.next());
    matches!(select(ended, again).await, Either::Left((Ok(()), _)))
}

/// What tells the server to end: SIGTERM, or Ctrl-C.
pub struct Signals {
    #[cfg(unix)]
    term: Signal,
    #[cfg(unix)]
    interrupt: Signal,
}

#[cfg(unix)]
impl Signals {
    /// From here on a signal ends nothing by itself.
    pub fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        select(pin!(self.term.recv()), pin!(self.interrupt.recv())).await;
    }
}

#[cfg(not(unix))]
impl Signals {
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nothing can be heard: the server goes on until it is killed.
            std::future::pending::<()>().await;
        }
    }
}
