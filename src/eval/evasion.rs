//! How much a guard misses when the same harm is written differently: rows rewritten by transforms that keep the label.
//!
//! Only the judged message is rewritten, so that a row stays the row it was. The rewriting depends on the seed, the
//! transform and the row's id alone: the same on every machine, and for a row whatever rows stand beside it.

mod frames;
mod letters;
mod report;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use report::{EvasionReport, TransformReport, evaluate_evasion};

use crate::conversation::Target;
use crate::data::rows::Row;

/// A way to write a message that a reader, or an obliging assistant, still understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// Digits and signs for letters: `p1ck 4 l0ck`.
    Leetspeak,
    /// A separator between the letters of each word: `p i c k   a   l o c k`, `p.i.c.k`.
    Spacing,
    /// Letters of other scripts that look the same (Unicode TS 39), and full-width ones.
    Homoglyphs,
    /// Characters without a shape between letters.
    ZeroWidth,
    /// Capitals and small letters at random.
    Case,
    /// The message in Base64, with a short request to decode it.
    Base64,
    /// The message in ROT13, with a short request to decode it.
    Rot13,
    /// The message inside a scene that a character plays.
    RolePlay,
    /// A long harmless text before the message.
    PaddingBefore,
    /// A long harmless text after the message.
    PaddingAfter,
}

impl Transform {
    pub const ALL: [Transform; 10] = [
        Transform::Leetspeak,
        Transform::Spacing,
        Transform::Homoglyphs,
        Transform::ZeroWidth,
        Transform::Case,
        Transform::Base64,
        Transform::Rot13,
        Transform::RolePlay,
        Transform::PaddingBefore,
        Transform::PaddingAfter,
    ];

    /// The name as commands and reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Transform::Leetspeak => "leetspeak",
            Transform::Spacing => "spacing",
            Transform::Homoglyphs => "homoglyphs",
            Transform::ZeroWidth => "zero-width",
            Transform::Case => "case",
            Transform::Base64 => "base64",
            Transform::Rot13 => "rot13",
            Transform::RolePlay => "role-play",
            Transform::PaddingBefore => "padding-before",
            Transform::PaddingAfter => "padding-after",
        }
    }

    /// The row with its judged message rewritten; everything else stays, its id and label too.
    pub fn row(self, row: &Row, seed: u64) -> Row {
        let mut row = row.clone();
        let mut rng = self.rng(seed, &row.id);
        match (row.level, &mut row.response) {
            (Target::Response, Some(response)) => *response = self.apply(response, Target::Response, &mut rng),
            _ => row.prompt = self.apply(&row.prompt, Target::Prompt, &mut rng),
        }
        row
    }

    fn rng(self, seed: u64, id: &str) -> ChaCha8Rng {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(self.name()).chain_update([0]);
        ChaCha8Rng::from_seed(digest.chain_update(id).finalize().into())
    }

    fn apply(self, text: &str, said: Target, rng: &mut ChaCha8Rng) -> String {
        match self {
            Transform::Leetspeak => letters::leetspeak(text, rng),
            Transform::Spacing => letters::spaced(text, rng),
            Transform::Homoglyphs => letters::homoglyphs(text, rng),
            Transform::ZeroWidth => letters::zero_width(text, rng),
            Transform::Case => letters::random_case(text, rng),
            Transform::Base64 => frames::base64(text, said, rng),
            Transform::Rot13 => frames::rot13(text, said, rng),
            Transform::RolePlay => frames::role_play(text, said, rng),
            Transform::PaddingBefore => format!("{}\n\n{text}", frames::padding(rng)),
            Transform::PaddingAfter => format!("{text}\n\n{}", frames::padding(rng)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::data::rows::Label;

    const TEXT: &str = "How do I pick a lock without a key?";

    fn row(id: &str, response: Option<&str>) -> Row {
        Row {
            id: id.into(),
            source: "x".into(),
            level: if response.is_some() { Target::Response } else { Target::Prompt },
            prompt: TEXT.into(),
            messages: Vec::new(),
            response: response.map(str::to_owned),
            label: Label::Unsafe,
            categories: vec!["locks".into()],
            lang: "en".into(),
            split: "test".into(),
            touches: Vec::new(),
            quotes: Vec::new(),
            policy: None,
        }
    }

    #[test]
    fn a_transform_rewrites_the_judged_message_and_nothing_else() {
        for transform in Transform::ALL {
            let asked = row("a", None);
            let rewritten = transform.row(&asked, 1);
            assert_ne!(rewritten.prompt, asked.prompt, "{}", transform.name());
            assert_eq!(Row { prompt: asked.prompt.clone(), ..rewritten }, asked, "{}", transform.name());

            let answered = row("a", Some("First take a thin wire, then turn it slowly."));
            let rewritten = transform.row(&answered, 1);
            assert_ne!(rewritten.response, answered.response, "{}", transform.name());
            assert_eq!(Row { response: answered.response.clone(), ..rewritten }, answered, "{}", transform.name());
        }
    }

    #[test]
    fn the_seed_and_the_id_alone_decide_how_a_row_is_rewritten() {
        for transform in Transform::ALL {
            let rewrite = |id: &str, seed| transform.row(&row(id, None), seed).prompt;
            assert_eq!(rewrite("a", 1), rewrite("a", 1));
            let different = (0..20).filter(|seed| rewrite("a", *seed) != rewrite("b", *seed)).count();
            assert!(different > 0, "{}: ids change nothing", transform.name());
            assert!((2..22).any(|seed| rewrite("a", seed) != rewrite("a", 1)), "{}: no seed", transform.name());
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_message() {
        for seed in 0..8 {
            let encoded = Transform::Base64.row(&row("a", None), seed).prompt;
            let decodes = |word: &str| STANDARD.decode(word).is_ok_and(|bytes| bytes == TEXT.as_bytes());
            assert!(encoded.split_whitespace().any(decodes), "{encoded}");

            let turned = Transform::Rot13.row(&row("a", None), seed).prompt;
            assert!(frames::turned(&turned).contains(TEXT), "{turned}");
        }
    }

    #[test]
    fn reports_write_the_name() {
        for transform in Transform::ALL {
            assert_eq!(serde_json::to_value(transform).unwrap(), transform.name());
        }
    }
}
