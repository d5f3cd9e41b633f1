//! What rsafe-mini is asked in a self-test.

use std::sync::Arc;

use super::engine::SlotEngine;
use super::layout::Marker;
use super::prompt::SlotPrompts;
use super::window::Window;
use crate::bundle::{KnownCase, KnownStep};
use crate::engine::reader::Reader;
use crate::engine::{known, read_numbers};
use crate::error::{Error, Result};
use crate::model::KvCache;
use crate::policy::Policy;
use crate::tokenizer::{TokenId, Tokenizer};

impl SlotEngine {
    /// The values of a self-test's case: the logit of every category of both policies, a digest of the states under the
    /// bundle's own, and logits of the answer behind it.
    pub async fn known(
        &self,
        tokenizer: &Tokenizer,
        own: &Policy,
        other: &Policy,
        case: &KnownCase,
        seed: u32,
    ) -> Result<KnownCase> {
        let ids = self.model.vocab_size() + Marker::COUNT;
        if case.answer.iter().flat_map(|step| &step.read).any(|&id| id as usize >= ids) {
            return Err(Error::BadModel(format!("self-test: expected an answer of ids below {ids}")));
        }
        let (under_other, _) = self.asked(tokenizer, other, case).await?;
        let (under_own, (reader, cache)) = self.asked(tokenizer, own, case).await?;
        let states = read_numbers(cache.digest(seed)).await?;
        let answer = known::answer(reader, &case.answer).await?;
        Ok(KnownCase { own: under_own, other: under_other, states, answer, ..case.clone() })
    }

    /// The logit of each category of `policy` for a self-test's conversation, as the network gives it, and what an answer
    /// is written behind. All is read anew, and nothing of it is kept.
    async fn asked(
        &self,
        tokenizer: &Tokenizer,
        policy: &Policy,
        case: &KnownCase,
    ) -> Result<(Vec<f32>, (Reader<'_>, KvCache))> {
        let blocks = SlotPrompts::blocks(tokenizer, policy)?;
        let prompt = self.prompts.read(tokenizer, blocks, &case.conversation())?;
        let conversation = prompt.conversation(self.prompts.frame, 0);
        let policy = Arc::new(self.read_policy(&prompt.blocks));
        self.forget();
        let mut window = Window::open(self, 0, conversation)?;
        while window.step(self, &policy)? {}
        let whole = window.logits(self, &policy).await?.swap_remove(0);
        self.forget();
        Ok((whole, window.reader(self, &policy, &(0..policy.blocks.len()).collect::<Vec<_>>())?))
    }

    /// Where an answer opens, and where it has thought, said something of a category, and quoted: every marker is read
    /// there, or asked about.
    pub fn known_steps(&self) -> Vec<KnownStep> {
        let vocab_size = self.model.vocab_size();
        let markers = (0..Marker::COUNT).map(|marker| (vocab_size + marker) as TokenId);
        let next: Vec<TokenId> = markers.chain(known::words(vocab_size)).collect();
        let step = |read| KnownStep { read, next: next.clone(), logits: Vec::new() };
        let mut said = vec![Marker::Think.id(vocab_size)];
        let words = known::words(vocab_size);
        let markers = [Marker::Applies, Marker::DoesNotApply, Marker::Quote, Marker::EndQuote, Marker::EndThink];
        said.extend(markers.iter().zip(words).flat_map(|(marker, word)| [word, marker.id(vocab_size)]));
        vec![step(vec![Marker::Answer.id(vocab_size)]), step(said)]
    }
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::bundle::Bundle;
    use crate::mini::layout::ANSWER;

    #[test]
    fn a_self_test_without_categories_is_an_error() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let engine =
                SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&Device::flex())).await.unwrap();
            let case = KnownCase { user: "Hello".into(), ..KnownCase::default() };
            let asked = engine.asked(&tokenizer, &Policy::new("empty"), &case).await;
            assert_eq!(asked.err().map(|error| error.code()), Some("bad_input"));
        });
    }

    /// What is read apart, kept and put together must be what one pass over the whole layout gives, as training has it.
    #[test]
    fn a_policy_that_is_kept_gives_what_one_pass_over_everything_gives() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let device = Device::flex();
            let engine = SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&device)).await.unwrap();
            let policy = bundle.policy().await.unwrap();
            let case = KnownCase { user: "Where does she park? ".repeat(40), ..KnownCase::default() };
            let (logits, (reader, _)) = engine.asked(&tokenizer, &policy, &case).await.unwrap();

            let blocks = SlotPrompts::blocks(&tokenizer, &policy).unwrap();
            let prompt = engine.prompts.read(&tokenizer, blocks, &case.conversation()).unwrap();
            let conversation = prompt.conversation(engine.prompts.frame, 0);
            assert!(engine.begun(&conversation).unwrap().cache.is_empty(), "nothing of what was asked stays");
            let mut whole = prompt.conversation(engine.prompts.frame, 0);
            let slots = whole.push_blocks(engine.model.vocab_size(), &prompt.blocks);
            let opening = Marker::Answer.id(engine.model.vocab_size());
            let answer = whole.push_answer(opening);
            let mut cache = engine.model.cache(1, whole.len() + ANSWER, &device);
            let batch = engine.model.batch(&[&whole], 0, &device);
            let states = engine.model.forward(&batch, Some(&mut cache));
            let all = read_numbers(engine.model.slot_logits(states.clone())).await.unwrap();
            for (at, (kept, slot)) in logits.iter().zip(slots).enumerate() {
                assert!((kept - all[slot]).abs() < 1e-4, "category {at}: {kept} kept, {} in one pass", all[slot]);
            }
            let expected = read_numbers(engine.model.marker_logits(states.narrow(1, answer, 1))).await.unwrap();
            let steps = [KnownStep {
                read: vec![opening],
                next: (0..Marker::COUNT).map(|at| (engine.model.vocab_size() + at) as TokenId).collect(),
                logits: Vec::new(),
            }];
            let found = known::answer(reader, &steps).await.unwrap();
            for (kept, one) in found[0].logits.iter().zip(expected) {
                assert!((kept - one).abs() < 1e-4, "answer: {kept} kept, {one} in one pass");
            }
        });
    }
}
