//! `rsafe serve`: the endpoints of the worker at the edge as a program of its own, for those who host them.

mod app;
mod body;
mod chat;
mod check;
mod errors;
mod events;
mod growing;
mod ids;
mod judge;
mod listen;
mod messages;
mod metrics;
mod models;
mod moderations;
mod openapi;
mod options;
mod passed;
mod pool;
mod relay;
mod responses;
mod routes;
mod settings;
mod status;
mod upstream;
mod walk;

use std::io::{self, Write};
use std::sync::Arc;

use rsafe::Error;
use rsafe::workers::Workers;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::{Failure, Outcome, output};
use app::App;
use listen::{Signals, serve};
use metrics::Metrics;
pub use options::{ENVIRONMENT, ServeArgs};
use passed::Passed;
use pool::Pool;

pub fn run(args: ServeArgs) -> Result<Outcome, Failure> {
    let workers = args.threads.map_or_else(Workers::new, Workers::of)?;
    let settings = args.settings(workers.len())?;
    let loaded = args.load()?;
    let model = loaded.guard.model().to_owned();
    let metrics = Arc::new(Metrics::new(&loaded, workers.len()));
    let pool = Pool::start(loaded, workers, &settings, metrics.clone())?;
    let upstream = args.upstream(&settings)?;
    let drain = settings.drain;
    let open = settings.keys.is_empty() && !args.listen.ip().is_loopback();
    let relayed = Arc::new(Semaphore::new(settings.max_chats));
    let passed = Arc::new(Passed::new(settings.max_remembered));
    let app = App { pool: pool.clone(), settings, metrics, model, upstream, relayed, passed };
    let app = routes::router(Arc::new(app));

    // Requests are small beside what judging them takes: one thread reads and answers them all.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Error::io("the server's runtime"))?.block_on(async {
        let signals = Signals::new().map_err(Error::io("signals"))?;
        let listener = TcpListener::bind(args.listen).await.map_err(Error::io(args.listen.to_string()))?;
        let address = listener.local_addr().map_err(Error::io(args.listen.to_string()))?;
        writeln!(io::stdout(), "rsafe listens on http://{address}")?;
        if open {
            let note = "note: whoever reaches this address may ask; set RSAFE_API_KEY, or listen on 127.0.0.1";
            writeln!(anstream::stderr(), "{note}")?;
        }
        Ok::<_, Failure>(serve(listener, app, signals, drain).await)
    })?;
    if !ended {
        output::error("timeout", "requests were still open when the time to end them was over; they were cut off");
        return Ok(Outcome::Incomplete);
    }
    pool.close();
    Ok(Outcome::Clean)
}
