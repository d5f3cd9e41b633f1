//! From a policy and a conversation to typed segments of a prompt, and from those to tokens.
//!
//! User text is data in two ways: it is encoded without control tokens, and the words by which a template
//! marks its blocks are made harmless in it ([`neutralise()`]).

mod encode;
mod layout;
mod llama_guard;
mod neutralise;
mod qwen3guard;
mod rsafe;
mod segment;

use crate::conversation::Conversation;
use crate::error::{Error, Result};
use crate::policy::Policy;

pub use encode::{Encoded, EncodedSegment, Quoted, encode};
pub use neutralise::{Neutralised, neutralise};
pub use segment::{Piece, Segment, SegmentKind};

/// The prompt formats that guards are trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// RSafe's guided reasoning in one ChatML user message (Qwen2.5 and other models that speak ChatML).
    Rsafe,
    LlamaGuard3,
    Qwen3guard,
    /// rsafe-mini: conversation, category slots, answer. Laid out in `mini::layout`, not as text.
    Slots,
}

impl Template {
    /// Whether answers name categories of the policy. Where they do not, P(unsafe) is all that is known.
    pub fn names_categories(self) -> bool {
        self != Template::Rsafe
    }

    /// Lays the prompt out: policy segments first, then the conversation up to the message on trial, then what
    /// opens the answer. `system` is what the model's own chat template says before a user who brings no system message;
    /// [`Template::Rsafe`] alone begins with it.
    ///
    /// # Errors
    /// [`Error::BadInput`] if there is no message of the side on trial, [`Error::Unsupported`] for [`Template::Slots`].
    pub fn segments(self, system: Option<&str>, policy: &Policy, conversation: &Conversation) -> Result<Vec<Segment>> {
        match self {
            Template::Rsafe => rsafe::segments(system, policy, conversation),
            Template::LlamaGuard3 => llama_guard::segments(policy, conversation),
            Template::Qwen3guard => qwen3guard::segments(policy, conversation),
            Template::Slots => Err(Error::Unsupported(
                "the template `slots` is no text: the slot model lays conversation and categories out itself".into(),
            )),
        }
    }
}

/// The prompt as text, as the model reads it: control tokens by name, messages neutralised.
pub fn render(segments: &[Segment]) -> String {
    let pieces = segments.iter().flat_map(|segment| &segment.pieces);
    pieces.fold(String::new(), |mut text, piece| {
        match piece {
            Piece::Control(name) => text.push_str(name),
            Piece::Text(words) => text.push_str(words),
            Piece::Untrusted { text: words, .. } => text.push_str(&neutralise(words).text),
        }
        text
    })
}
