//! What is said at one place of a streamed answer, and how much of it the guard has released. Sizes are in bytes.

use rsafe::Message;

use super::shape::{Kind, Said};
use crate::serve::growing::Watch;
use crate::serve::judge::{Judge, Stop};
use crate::serve::walk::{as_read, plainly};

/// A text that grows under a monitor.
#[derive(Default)]
struct Growing {
    text: String,
    judged: usize,
    watch: Option<Watch>,
    /// What the open monitor has released.
    shown: usize,
    released: usize,
}

impl Growing {
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    async fn judge(&mut self, judge: &Judge, messages: &[Message], ends: bool) -> Result<(), Stop> {
        let unseen = self.judged < self.text.len();
        if !unseen && (!ends || self.watch.is_none()) {
            return Ok(());
        }
        if self.watch.is_none() {
            // A text that goes on after its end is judged as a whole again: a fresh monitor knows nothing of it.
            (self.judged, self.shown) = (0, 0);
        }
        let more = self.text[self.judged..].to_owned();
        self.judged = self.text.len();
        let (watch, shown) = judge.grow(self.watch.take(), messages, more, ends).await?;
        self.shown += shown;
        self.released = self.released.max(self.shown);
        self.watch = (!ends).then_some(watch);
        Ok(())
    }
}

/// The pieces of one place, as one growing text: joined as a stream's pieces are and, where they are items of a list, with a
/// break between the items as well.
#[derive(Default)]
pub struct Strand {
    joined: Growing,
    apart: Option<Growing>,
    path: Option<String>,
}

impl Strand {
    fn add(&mut self, path: &str, text: &str) {
        let other = self.path.as_deref().is_some_and(|known| known != path);
        if other && self.apart.is_none() {
            self.apart = Some(Growing::of(&self.joined.text));
        }
        if let Some(apart) = &mut self.apart {
            apart.text.push_str(if other { " " } else { "" });
            apart.text.push_str(text);
        }
        self.joined.text.push_str(text);
        self.path = Some(path.to_owned());
    }
}

/// A text that is judged as a whole: a call at its end, its name first, a note at once.
#[derive(Default)]
pub struct Whole {
    is_call: bool,
    name: String,
    text: String,
    released: usize,
}

impl Whole {
    fn size(&self) -> usize {
        self.name.len() + self.text.len()
    }

    fn read(&self) -> String {
        if self.is_call { as_read([self.name.clone(), plainly(&self.text)]) } else { self.text.clone() }
    }
}

/// What is said at one place.
pub enum Held {
    Strand(Box<Strand>),
    Whole(Whole),
}

/// How far the texts of a place must be released.
pub struct Need {
    joined: usize,
    apart: Option<usize>,
}

impl Need {
    /// Whether one text alone must be: of a list, no part is one item's.
    pub fn is_one(&self) -> bool {
        self.apart.is_none()
    }
}

impl Held {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Strand(Box::default()),
            Kind::Call | Kind::Note => Self::Whole(Whole { is_call: kind == Kind::Call, ..Whole::default() }),
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    pub fn is_call(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_call)
    }

    /// More of it.
    pub fn add(&mut self, Said { path, text, .. }: &Said) {
        match self {
            Self::Strand(strand) => strand.add(path, text),
            Self::Whole(call) if call.is_call && path.ends_with(".name") => call.name.push_str(text),
            Self::Whole(whole) => whole.text.push_str(text),
        }
    }

    /// All that was said here.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Strand(strand) => Some(&strand.joined.text),
            Self::Whole(_) => None,
        }
    }

    /// What must be released before all that came so far may go.
    pub fn need(&self) -> Need {
        match self {
            Self::Strand(strand) => {
                Need { joined: strand.joined.text.len(), apart: strand.apart.as_ref().map(|apart| apart.text.len()) }
            }
            Self::Whole(whole) => Need { joined: whole.size(), apart: None },
        }
    }

    /// How many bytes of that are held back, if it is one text; more than none otherwise, while any is.
    pub fn missing(&self, need: &Need) -> usize {
        let missing = |upto: usize, released: usize| upto.saturating_sub(released);
        match self {
            Self::Whole(whole) => missing(need.joined, whole.released),
            Self::Strand(strand) => {
                let apart = need.apart.zip(strand.apart.as_ref());
                missing(need.joined, strand.joined.released)
                    .max(apart.map_or(0, |(upto, apart)| missing(upto, apart.released)))
            }
        }
    }

    /// Judges what is new, as far as that is due; all of it where it ends. More may come behind the end all the same.
    pub async fn judge(&mut self, judge: &Judge, messages: &[Message], ends: bool) -> Result<(), Stop> {
        match self {
            Self::Strand(strand) => {
                strand.joined.judge(judge, messages, ends).await?;
                match &mut strand.apart {
                    Some(apart) => apart.judge(judge, messages, ends).await,
                    None => Ok(()),
                }
            }
            Self::Whole(whole) => {
                if (ends || !whole.is_call) && whole.released < whole.size() {
                    judge.answered(messages, whole.read()).await?;
                    whole.released = whole.size();
                }
                Ok(())
            }
        }
    }
}
