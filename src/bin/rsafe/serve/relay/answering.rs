//! What goes along with one answer while it is relayed.

use rsafe::Message;

use crate::serve::app::Shared;
use crate::serve::judge::Judge;

/// What an answer is judged by.
pub struct Answering<S> {
    pub app: Shared,
    pub judge: Judge,
    /// The conversation that is answered.
    pub messages: Vec<Message>,
    pub shape: S,
}
