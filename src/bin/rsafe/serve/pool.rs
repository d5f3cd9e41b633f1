//! Texts on their way through the guard: a bounded queue, and a worker on each core that judges one at a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pollster::block_on;
use rsafe::guard::{Event, Reasoning, Request};
use rsafe::monitor::Released;
use rsafe::policy::{Format, RuleLimits};
use rsafe::workers::Workers;
use rsafe::{Conversation, Error, Message, Policy, Result, Verdict};
use tokio::sync::mpsc;

use super::errors::Problem;
use super::growing::{self, Growing, Watch};
use super::metrics::Metrics;
use super::settings::Settings;
use crate::judge;
use crate::library::Loaded;
use crate::output;

/// How long one step of a check may take until nobody waits for it any more. A worker looks at the time between steps.
const GRACE: Duration = Duration::from_secs(5);

/// What is asked of the guard.
pub struct Ask {
    pub conversation: Arc<Conversation>,
    pub under: Under,
    /// `None`: as the server was told to.
    pub reasoning: Option<Reasoning>,
    pub strictness: Option<f32>,
}

impl Ask {
    /// As the owner has it.
    pub fn own(conversation: Conversation) -> Self {
        Self { conversation: Arc::new(conversation), under: Under::Own, reasoning: None, strictness: None }
    }

    /// The same about another conversation.
    pub fn about(&self, conversation: Conversation) -> Self {
        let Self { under, reasoning, strictness, .. } = self;
        Self {
            conversation: Arc::new(conversation),
            under: under.clone(),
            reasoning: *reasoning,
            strictness: *strictness,
        }
    }
}

/// The policy of a request.
#[derive(Clone)]
pub enum Under {
    /// The server's.
    Own,
    Builtin(&'static str),
    /// The caller's, as text or as JSON; it is read where the work is done.
    Text(String),
    Json(String),
}

impl Under {
    /// Of a built-in one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Builtin(name) => Some(name),
            Self::Own | Self::Text(_) | Self::Json(_) => None,
        }
    }
}

/// What is said while a text is judged. The last is a verdict, what of a growing answer may be shown, or a problem.
pub enum Said {
    Reasoning(String),
    Verdict(Box<Verdict>),
    Grown(Box<(Watch, Released)>),
    Failed(Problem),
}

type Sayer = mpsc::UnboundedSender<Said>;

enum Work {
    Check(Ask),
    Grow(Box<Growing>),
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Check(ask) => ask.conversation.messages.iter().map(|message| message.content.len()).sum(),
            Self::Grow(growing) => growing.more.len(),
        }
    }
}

/// A text that waits.
struct Job {
    work: Work,
    bytes: usize,
    arrived: Instant,
    said: Sayer,
}

impl Job {
    /// When it goes before all that is longer or came later: after some three times what judging it takes. So short texts
    /// pass long ones, and long ones are not forgotten.
    fn due(&self) -> Instant {
        self.arrived + Duration::from_millis(self.bytes as u64 / 4)
    }
}

#[derive(Default)]
struct Queue {
    /// By when they are due, and in the order in which they came.
    waiting: BTreeMap<(Instant, u64), Job>,
    came: u64,
    running: usize,
    closed: bool,
}

/// The guard behind its queue.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    loaded: Arc<Loaded>,
    builtin: Vec<(&'static str, Policy)>,
    /// Texts that are judged or wait.
    places: usize,
    check: Duration,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    changed: Condvar,
    workers: Mutex<Option<JoinHandle<()>>>,
}

impl Pool {
    /// # Errors
    /// What the built-in policies have wrong.
    pub fn start(loaded: Loaded, workers: Workers, settings: &Settings, metrics: Arc<Metrics>) -> Result<Self> {
        let builtin = Policy::builtin_names().map(|name| Policy::builtin(name).map(|policy| (name, policy)));
        let inner = Arc::new(Inner {
            loaded: Arc::new(loaded),
            builtin: builtin.into_iter().collect::<Result<_, _>>()?,
            places: workers.len() + settings.max_queued,
            check: settings.check,
            metrics,
            queue: Mutex::default(),
            changed: Condvar::new(),
            workers: Mutex::default(),
        });
        let shared = inner.clone();
        let thread = std::thread::spawn(move || {
            let seats: Vec<usize> = (0..workers.len()).collect();
            workers.map(&seats, |_| shared.work());
        });
        *inner.workers.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self(inner))
    }

    /// Takes all of them, or none.
    ///
    /// # Errors
    /// `busy` if there is no place for them.
    pub fn ask(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, Problem> {
        let inner = &self.0;
        let mut queue = inner.queue();
        let full = |queue: &Queue| queue.running + queue.waiting.len() + asks.len() > inner.places;
        if full(&queue) {
            // Those who have left hold no place.
            queue.waiting.retain(|_, job| !job.said.is_closed());
        }
        if queue.closed || full(&queue) {
            return Err(Problem::busy());
        }
        let answers = asks.into_iter().map(|ask| inner.add(&mut queue, Work::Check(ask))).collect();
        drop(queue);
        inner.changed.notify_all();
        Ok(answers)
    }

    /// A text of an answer that is relayed. It waits behind a full queue too: relayed chats have places of their own, and
    /// each has one text here at a time.
    pub fn ask_of_answer(&self, ask: Ask) -> Answer {
        self.take(Work::Check(ask))
    }

    /// More of an answer that is relayed.
    pub fn grow(&self, growing: Growing) -> Answer {
        self.take(Work::Grow(Box::new(growing)))
    }

    fn take(&self, work: Work) -> Answer {
        let answer = self.0.add(&mut self.0.queue(), work);
        self.0.changed.notify_one();
        answer
    }

    /// A monitor of the answer to `messages`.
    ///
    /// # Errors
    /// What the owner's policy has wrong.
    pub fn watch(&self, messages: Vec<Message>) -> Result<Watch, Problem> {
        growing::watch(self.0.loaded.clone(), messages)
    }

    /// Texts that somebody waits for, and texts that are judged.
    pub fn depth(&self) -> (usize, usize) {
        let queue = self.0.queue();
        (queue.waiting.values().filter(|job| !job.said.is_closed()).count(), queue.running)
    }

    /// Waits until all is judged that was taken.
    pub fn close(&self) {
        self.0.queue().closed = true;
        self.0.changed.notify_all();
        let workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(workers) = workers {
            // A panic there is a bug.
            workers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that could panic happens under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, queue: &mut Queue, work: Work) -> Answer {
        let (said, heard) = mpsc::unbounded_channel();
        let job = Job { bytes: work.bytes(), work, arrived: Instant::now(), said };
        let until = job.arrived + 2 * self.check + GRACE;
        queue.came += 1;
        let place = (job.due(), queue.came);
        // Nobody takes it from a closed queue: who waits for it hears that it was dropped.
        if !queue.closed {
            queue.waiting.insert(place, job);
        }
        Answer { heard, until: until.into(), check: self.check }
    }

    /// One worker's life.
    fn work(&self) {
        while let Some(job) = self.next() {
            // One text that meets a bug does not take the server from all others.
            let Job { work, arrived, said, .. } = job;
            let last = catch_unwind(AssertUnwindSafe(|| self.settle(work, arrived, &said))).unwrap_or_else(|_| {
                output::error("internal", "a check ended in a panic; its request got an error");
                Some(Said::Failed(Problem::internal()))
            });
            self.queue().running -= 1;
            if let Some(last) = last {
                // Nobody hears it who has left.
                let _ = said.send(last);
            }
        }
    }

    /// The job that is due first; `None` when the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        let waits = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let mut queue = self.changed.wait_while(self.queue(), waits).unwrap_or_else(PoisonError::into_inner);
        let (_, job) = queue.waiting.pop_first()?;
        queue.running += 1;
        Some(job)
    }

    /// The end of a job; nothing where nobody waits for it.
    fn settle(&self, work: Work, arrived: Instant, said: &Sayer) -> Option<Said> {
        if said.is_closed() {
            return None;
        }
        let (waited, begun) = (arrived.elapsed(), Instant::now());
        self.metrics.waited(waited);
        let until = begun + self.check;
        let stop = || match () {
            () if said.is_closed() => Err(Problem::left()),
            () if Instant::now() >= until => Err(Problem::late(self.check)),
            () => Ok(()),
        };
        let result = match work {
            _ if waited > self.check => Err(Problem::busy()),
            Work::Check(ask) => self.judge(&ask, said, stop).map(|verdict| Said::Verdict(Box::new(verdict))),
            Work::Grow(growing) => growing.judge(stop).map(|grown| Said::Grown(Box::new(grown))),
        };
        let verdict = match &result {
            Ok(Said::Verdict(verdict)) => Some(Ok(&**verdict)),
            // No check may have been due.
            Ok(Said::Grown(grown)) => grown.1.verdict.as_ref().map(Ok),
            Ok(_) => None,
            Err(problem) => Some(Err(problem)),
        };
        if let Some(result) = verdict {
            self.metrics.judged(begun.elapsed(), result);
        }
        Some(result.unwrap_or_else(Said::Failed))
    }

    fn judge(&self, ask: &Ask, said: &Sayer, stop: impl Fn() -> Result<(), Problem>) -> Result<Verdict, Problem> {
        let Ask { conversation, under, reasoning, strictness } = ask;
        let brought;
        let policy = match under {
            Under::Own => self.loaded.policy.as_ref(),
            Under::Builtin(name) => self.builtin.iter().find(|(known, _)| known == name).map(|(_, policy)| policy),
            Under::Text(text) => {
                brought = Policy::detect_within(text, None, RuleLimits::CALLER).map_err(Error::from)?;
                Some(&brought)
            }
            Under::Json(json) => {
                brought = Policy::parse_within(json, Format::Json, RuleLimits::CALLER).map_err(Error::from)?;
                Some(&brought)
            }
        };
        let mut request = Request::new((**conversation).clone()).reasoning(reasoning.unwrap_or(self.loaded.reasoning));
        request.policy = policy;
        request.strictness = *strictness;
        let mut session = self.loaded.guard.start(&request)?;
        while let Some(event) = block_on(session.next())? {
            match event {
                Event::Verdict(verdict) => return judge::sound(*verdict).map_err(Problem::of),
                Event::Reasoning(piece) => drop(said.send(Said::Reasoning(piece))),
                _ => {}
            }
            stop()?;
        }
        Err(Problem::of(judge::no_verdict()))
    }
}

/// What a worker says of one text. Dropping it tells the worker that nobody waits.
pub struct Answer {
    heard: mpsc::UnboundedReceiver<Said>,
    /// A worker that has said nothing by then hangs.
    until: tokio::time::Instant,
    check: Duration,
}

impl Answer {
    /// What comes next; a problem where nothing does.
    pub async fn next(&mut self) -> Said {
        match tokio::time::timeout_at(self.until, self.heard.recv()).await {
            Ok(Some(said)) => said,
            Ok(None) => Said::Failed(Problem::internal()),
            Err(_) => Said::Failed(Problem::late(self.check)),
        }
    }

    pub async fn verdict(mut self) -> Result<Verdict, Problem> {
        loop {
            match self.next().await {
                Said::Reasoning(_) | Said::Grown(_) => {}
                Said::Verdict(verdict) => return Ok(*verdict),
                Said::Failed(problem) => return Err(problem),
            }
        }
    }

    /// What of a growing answer may be shown, and the monitor for what comes next.
    pub async fn grown(mut self) -> Result<(Watch, Released), Problem> {
        match self.next().await {
            Said::Grown(grown) => Ok(*grown),
            Said::Failed(problem) => Err(problem),
            Said::Reasoning(_) | Said::Verdict(_) => Err(Problem::internal()),
        }
    }
}
