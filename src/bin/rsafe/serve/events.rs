//! The events of a stream that an upstream sends.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use futures_util::stream::{Stream, StreamExt, unfold};
use sse_stream::SseByteStream;

use super::errors::Problem;
use super::upstream::Answered;

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

pub struct Events {
    events: SseByteStream<Chunks>,
    /// Bytes since the last event.
    unread: Arc<AtomicUsize>,
    limit: usize,
}

/// Why no more bytes come, on its way through the parser.
#[derive(Debug)]
struct Broken(Problem);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code())
    }
}

impl Error for Broken {}

impl Events {
    /// Those of a body, whose first bytes are waited for: until then, an error still has a status of its own.
    ///
    /// # Errors
    /// Where they do not come.
    pub async fn of(mut answered: Answered) -> Result<Self, Problem> {
        let limit = answered.limit();
        let first = answered.chunk().await?;
        let unread = Arc::new(AtomicUsize::new(0));
        let counted = unread.clone();
        // The parser asks for bytes when it has read all that it was given.
        let chunks = unfold((Some(answered), first), move |(answered, first)| {
            let counted = counted.clone();
            async move {
                let mut answered = answered?;
                let next = match first {
                    Some(first) => Ok(Some(first)),
                    None if counted.load(Ordering::Relaxed) > limit => Err(too_large(limit)),
                    None => answered.chunk().await,
                };
                match next {
                    Ok(chunk) => {
                        let chunk = chunk?;
                        counted.fetch_add(chunk.len(), Ordering::Relaxed);
                        Some((Ok(chunk), (Some(answered), None)))
                    }
                    Err(problem) => Some((Err(Broken(problem)), (None, None))),
                }
            }
        });
        Ok(Self { events: SseByteStream::new(Box::pin(chunks)), unread, limit })
    }

    /// The data of the next event that has any; none at the end.
    pub async fn next(&mut self) -> Result<Option<String>, Problem> {
        while let Some(event) = self.events.next().await {
            let event = event.map_err(problem)?;
            self.unread.store(0, Ordering::Relaxed);
            match event.data {
                Some(data) if data.len() > self.limit => return Err(too_large(self.limit)),
                Some(data) => return Ok(Some(data)),
                None => {}
            }
        }
        Ok(None)
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::upstream(format!("an event of the upstream has more than {limit} bytes"))
}

fn problem(error: sse_stream::Error) -> Problem {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<Broken>() {
            Ok(broken) => broken.0,
            Err(_) => Problem::internal(),
        },
        _ => Problem::upstream("the upstream sent events that are not UTF-8"),
    }
}
