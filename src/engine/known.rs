//! The known answers of a self-test that both kinds of model give alike: logits at some places of an answer.

use super::reader::Reader;
use crate::bundle::KnownStep;
use crate::error::Result;
use crate::grammar::Allowed;
use crate::tokenizer::TokenId;

/// Words of a vocabulary that a step asks about.
const WORDS: usize = 12;

/// Some words of a vocabulary, far from one another.
pub fn words(vocab_size: usize) -> impl Iterator<Item = TokenId> {
    (0..WORDS).map(move |at| ((2 * at + 1) * vocab_size / (2 * WORDS)) as TokenId)
}

/// The steps with the logits that the model gives behind what `reader` has read; NaN for a token that it does not have.
pub async fn answer(mut reader: Reader<'_>, steps: &[KnownStep]) -> Result<Vec<KnownStep>> {
    let mut known = Vec::with_capacity(steps.len());
    for KnownStep { read, next, .. } in steps {
        reader.extend(std::slice::from_ref(read))?;
        let found = reader.logits(&[(0, Allowed::Few(next.clone()))]).await?.concat();
        let logit = |id: &TokenId| found.iter().find(|(known, _)| known == id).map_or(f32::NAN, |&(_, logit)| logit);
        known.push(KnownStep { read: read.clone(), logits: next.iter().map(logit).collect(), next: next.clone() });
    }
    Ok(known)
}
