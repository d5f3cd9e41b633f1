//! An answer that grows, on its way through the workers: a monitor, and what has come since it was last asked.

use std::ops::Deref;
use std::sync::Arc;

use pollster::block_on;
use rsafe::monitor::{Monitor, MonitorOptions, Released};
use rsafe::{Error, Guard, Message};

use super::errors::Problem;
use crate::judge::sound_score;
use crate::library::Loaded;

/// The guard, for as long as an answer grows.
pub struct Held(Arc<Loaded>);

impl Deref for Held {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.0.guard
    }
}

pub type Watch = Monitor<Held>;

/// A monitor of the answer to `messages`.
pub fn watch(loaded: Arc<Loaded>, messages: Vec<Message>) -> Result<Watch, Problem> {
    // Nobody is there to review.
    let options = MonitorOptions::default().release_on_review(false).reasoning(loaded.reasoning);
    let policy = loaded.policy.clone();
    Ok(Monitor::new(Held(loaded), messages, policy, options)?)
}

pub struct Growing {
    pub watch: Watch,
    pub more: String,
    /// Whether the answer ends there.
    pub ends: bool,
}

impl Growing {
    /// What may be shown now, unless `stop` gives it up.
    pub fn judge(self, stop: impl Fn() -> Result<(), Problem>) -> Result<(Watch, Released), Problem> {
        let Self { mut watch, more, ends } = self;
        let before = watch.curve().len();
        let mut given_up = None;
        let pause = async || {
            stop().map_err(|problem| {
                given_up = Some(problem);
                Error::Unsupported("it was given up".into())
            })
        };
        let released = block_on(grow(&mut watch, &more, ends, pause));
        let released = released.map_err(|error| given_up.unwrap_or_else(|| error.into()))?;
        // A number that is none passes every threshold.
        watch.curve()[before..].iter().try_for_each(|(_, score)| sound_score(*score)).map_err(Problem::of)?;
        Ok((watch, released))
    }
}

async fn grow(
    watch: &mut Watch,
    more: &str,
    ends: bool,
    mut pause: impl AsyncFnMut() -> rsafe::Result<()>,
) -> rsafe::Result<Released> {
    let released = watch.push_pausing(more, &mut pause).await?;
    if !ends || released.blocked {
        return Ok(released);
    }
    let mut end = watch.finish_pausing(&mut pause).await?;
    end.text.insert_str(0, &released.text);
    Ok(end)
}
