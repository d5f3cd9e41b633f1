//! Many texts before the same categories: each text and each category is read once, and a slot is all that a pair of them
//! costs.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, activation};

use crate::mini::layout::Layout;
use crate::mini::network::{PolicyStates, Seen, SlotModel, Unseen};
use crate::tokenizer::TokenId;

/// What the cover counts beside the slots.
const COVER: f32 = 0.3;

/// Texts and categories, and what is known of them.
#[derive(Default)]
pub struct Panel {
    /// Conversations alone.
    texts: Vec<Layout>,
    /// What slots read of them.
    readings: Vec<Reading>,
    /// The words of each category's block.
    blocks: Vec<Vec<TokenId>>,
    /// What the slots should say of which something is known.
    known: Vec<Known>,
    /// The categories that cover every general harm, and what is known of texts under all of them together.
    cover: Vec<usize>,
    covered: Vec<Covered>,
}

/// What slots see of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub text: usize,
    /// Positions of the conversation that they do not see.
    pub unseen: Vec<Range<usize>>,
}

/// What the slot of a reading and a category should say.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub reading: usize,
    pub block: usize,
    /// 1 where it applies, 0 where it does not, between them where reasonable owners would differ.
    pub target: f32,
    /// What it counts in the mean loss.
    pub weight: f32,
}

/// What the highest slot of the cover should say: of a text that is harmful in a way that nobody named one applies, of a
/// harmless text none.
#[derive(Debug, Clone, Copy)]
pub struct Covered {
    pub reading: usize,
    pub harmful: bool,
}

/// The parts of a panel's loss, as far as something is known.
pub struct PanelLoss {
    pub slots: Option<Tensor<1>>,
    pub cover: Option<Tensor<1>>,
}

impl PanelLoss {
    /// `None` where nothing is known.
    pub fn total(self) -> Option<Tensor<1>> {
        let parts = self.slots.into_iter().chain(self.cover.map(|cover| cover * COVER));
        parts.reduce(|a, b| a + b)
    }
}

impl Panel {
    /// Texts, conversations alone and each read whole, before categories of these words.
    pub fn new(texts: Vec<Layout>, blocks: Vec<Vec<TokenId>>) -> Self {
        let readings = (0..texts.len()).map(|text| Reading { text, unseen: Vec::new() }).collect();
        Self { texts, readings, blocks, ..Self::default() }
    }

    /// Adds a reading, and gives its place: those of whole texts come first, in their order.
    pub fn read(&mut self, reading: Reading) -> usize {
        self.readings.push(reading);
        self.readings.len() - 1
    }

    pub fn know(&mut self, known: Known) {
        self.known.push(known);
    }

    /// Says what is known of texts under these categories, which cover every general harm.
    pub fn cover(&mut self, blocks: Vec<usize>, covered: Vec<Covered>) {
        (self.cover, self.covered) = (blocks, covered);
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is something to learn.
    pub fn teaches(&self) -> bool {
        !self.known.is_empty() || self.has_cover()
    }

    fn has_cover(&self) -> bool {
        !self.covered.is_empty() && !self.cover.is_empty()
    }

    /// Tokens that are read: those of the texts, of the categories, and a slot for each pair.
    pub fn tokens(&self) -> usize {
        let texts: usize = self.texts.iter().map(Layout::len).sum();
        let words: usize = self.blocks.iter().map(Vec::len).sum();
        texts + words + self.readings.len() * self.blocks.len()
    }

    /// The mean losses over what is known: cross-entropy of the slots, and of the highest of the cover.
    pub fn loss(&self, model: &SlotModel, device: &Device) -> PanelLoss {
        let logits = self.logits(model, device);
        let slots = (!self.known.is_empty()).then(|| {
            let targets: Vec<f32> = self.known.iter().map(|known| known.target).collect();
            let weights: Vec<f32> = self.known.iter().map(|known| known.weight).collect();
            let total: f32 = weights.iter().sum();
            let weights = Tensor::<1>::from_data(weights.as_slice(), device);
            (cross_entropy(self.pairs(&logits), &targets) * weights).sum() / total
        });
        let cover = self.has_cover().then(|| {
            let readings: Vec<i32> = self.covered.iter().map(|covered| covered.reading as i32).collect();
            let blocks: Vec<i32> = self.cover.iter().map(|&block| block as i32).collect();
            let targets: Vec<f32> = self.covered.iter().map(|it| f32::from(u8::from(it.harmful))).collect();
            let index = |places: &[i32]| Tensor::<1, Int>::from_data(places, device);
            // The score of a text is that of its highest slot: one false alarm among many silent slots is one.
            let highest = logits.clone().select(0, index(&readings)).select(1, index(&blocks)).max_dim(1);
            cross_entropy(highest.reshape([readings.len()]), &targets).mean()
        });
        PanelLoss { slots, cover }
    }

    /// The scores of the slots of which something is known for sure, with that.
    pub fn scores(&self, model: &SlotModel, device: &Device) -> Vec<(f32, bool)> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let scores = activation::sigmoid(self.pairs(&self.logits(model, device))).into_data();
        let decided = |(score, known): (f32, &Known)| {
            (known.target == 0.0 || known.target == 1.0).then_some((score, known.target == 1.0))
        };
        scores.iter::<f32>().zip(&self.known).filter_map(decided).collect()
    }

    /// The logits of what is known, `[known]`.
    fn pairs(&self, logits: &Tensor<2>) -> Tensor<1> {
        let [readings, blocks] = logits.dims();
        let places: Vec<i32> = self.known.iter().map(|known| (known.reading * blocks + known.block) as i32).collect();
        let places = Tensor::<1, Int>::from_data(places.as_slice(), &logits.device());
        logits.clone().reshape([readings * blocks]).select(0, places)
    }

    /// The logit of every slot, `[readings, blocks]`, as inference computes it.
    fn logits(&self, model: &SlotModel, device: &Device) -> Tensor<2> {
        let read = |layouts: &[&Layout]| {
            let longest = layouts.iter().map(|layout| layout.len()).max().unwrap_or(0);
            let mut cache = model.cache(layouts.len(), longest, device);
            model.forward(&model.batch(layouts, 0, device), Some(&mut cache));
            cache
        };
        let texts: Vec<&Layout> = self.texts.iter().collect();
        let words: Vec<Layout> = self.blocks.iter().map(|block| Layout::words(block)).collect();
        let shared = read(&texts);
        let words = read(&words.iter().collect::<Vec<_>>());
        let words = PolicyStates::new(words, self.blocks.iter().map(Vec::len), device);
        let unseen = |reading: &Reading| {
            let padding = texts[reading.text].len()..shared.len();
            [reading.unseen.as_slice(), &[padding]].concat()
        };
        let unseen: Vec<_> = self.readings.iter().map(unseen).collect();
        let shared = match self.readings.len() == texts.len() {
            true => shared,
            false => shared.pick(&self.readings.iter().map(|reading| reading.text).collect::<Vec<_>>()),
        };
        let shape = [self.readings.len(), self.blocks.len()];
        let mut pass = model.begin_slots(shape, &Unseen::ByRow(&unseen), shared.len(), device);
        let seen = Seen { shared: &shared, words: Some(&words) };
        model.advance_slots(&mut pass, seen, None, model.layers());
        model.slot_logits(pass.states).reshape(shape)
    }
}

/// Binary cross-entropy of each logit: softplus(z) - z * y.
fn cross_entropy(logits: Tensor<1>, labels: &[f32]) -> Tensor<1> {
    let labels = Tensor::<1>::from_data(labels, &logits.device());
    activation::softplus(logits.clone(), 1.0) - logits * labels
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bundle::Bundle;
    use crate::mini::engine::SlotEngine;
    use crate::mini::layout::{Frame, Kind, Turn};
    use crate::mini::network::SlotConfig;
    use crate::mini::window::Window;
    use crate::tokenizer::Tokenizer;

    /// What texts and categories that are read once give together is what each text gives in one pass with its categories.
    #[test]
    fn a_panel_gives_what_each_text_gives_alone() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let device = Device::flex();
            let config = SlotConfig::from_json(&bundle.manifest().config).unwrap();
            let model = SlotModel::load(&config, &mut bundle.weights(&device).await.unwrap()).unwrap();
            let text = |ids: std::ops::Range<TokenId>, kind| {
                let frame = Frame { cls: 101, sep: 102 };
                let context = [Turn { kind: Kind::ContextUser, ids: &[2054, 2055] }];
                Layout::conversation(frame, &context, Turn { kind, ids: &ids.collect::<Vec<_>>() })
            };
            let texts = vec![text(2100..2107, Kind::JudgedUser), text(2200..2290, Kind::JudgedAgent)];
            let blocks: Vec<Vec<TokenId>> = vec![vec![4000], (4100..4120).collect(), (4200..4207).collect()];
            let mut panel = Panel::new(texts.clone(), blocks.clone());
            let mut alone = Vec::new();
            for (text, layout) in texts.iter().enumerate() {
                let mut layout = layout.clone();
                let slots = layout.push_blocks(model.vocab_size(), &blocks);
                let hidden = model.forward(&model.batch(&[&layout], 0, &device), None);
                let logits: Vec<f32> = model.slot_logits(hidden).into_data().iter::<f32>().collect();
                for (block, slot) in slots.enumerate() {
                    panel.know(Known { reading: text, block, target: (block % 2) as f32, weight: 1.0 });
                    alone.push((logits[slot], block % 2 == 1));
                }
            }
            let scores = panel.scores(&model, &device);
            assert_eq!(scores.len(), 6);
            for ((score, holds), (logit, held)) in scores.iter().zip(&alone) {
                let expected = 1.0 / (1.0 + (-logit).exp());
                assert!((score - expected).abs() < 1e-4 && holds == held, "{score} in the panel, {expected} alone");
            }
            let mean = |losses: Vec<f32>| losses.iter().sum::<f32>() / losses.len() as f32;
            let loss = |logit: f32, target: bool| (logit.exp() + 1.0).ln() - if target { logit } else { 0.0 };
            panel.cover(vec![0, 2], vec![Covered { reading: 1, harmful: true }]);
            let PanelLoss { slots: Some(slots), cover: Some(cover) } = panel.loss(&model, &device) else {
                panic!("both")
            };
            let expected = mean(alone.iter().map(|&(logit, held)| loss(logit, held)).collect());
            assert!((slots.into_scalar::<f32>() - expected).abs() < 1e-3);
            assert!((cover.into_scalar::<f32>() - loss(alone[3].0.max(alone[5].0), true)).abs() < 1e-3);
        });
    }

    /// What is learnt of a passage is what the guard reads.
    #[test]
    fn passages_are_read_as_the_guard_reads_them() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let device = Device::flex();
            let tokenizer = Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let engine = SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&device)).await.unwrap();
            let text = |len: TokenId| {
                let ids: Vec<TokenId> = (2100..2100 + len).collect();
                Layout::conversation(Frame { cls: 101, sep: 102 }, &[], Turn { kind: Kind::JudgedUser, ids: &ids })
            };
            let blocks: Vec<Vec<TokenId>> = vec![vec![4000], (4100..4120).collect()];
            let policy = Arc::new(engine.read_policy(&blocks.clone().into()));
            // The shorter one is padded.
            let texts = vec![text(9), text(150)];
            let mut window = Window::apart(&engine, 0, texts[1].clone());
            while window.step(&engine, &policy).unwrap() {}
            let read = window.logits(&engine, &policy).await.unwrap();
            assert_eq!(read.len(), window.readings());
            assert!(read.len() > 3, "{} readings", read.len());

            let mut panel = Panel::new(texts, blocks);
            for at in 0..window.readings() {
                let unseen = window.unseen(at);
                let reading = if at == 0 { 1 } else { panel.read(Reading { text: 1, unseen }) };
                for block in 0..2 {
                    panel.know(Known { reading, block, target: 0.0, weight: 1.0 });
                }
            }
            let logit = |(score, _): (f32, bool)| (score / (1.0 - score)).ln();
            let learnt: Vec<f32> = panel.scores(&engine.model, &device).into_iter().map(logit).collect();
            for (learnt, read) in learnt.iter().zip(read.concat()) {
                assert!((learnt - read).abs() < 1e-3, "{learnt} in the panel, {read} in the guard");
            }
        });
    }
}
