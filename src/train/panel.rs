//! Many texts before the same categories: each text and each category is read once, and a slot is all that a pair of them
//! costs.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, activation};

use super::pupil::ConceptHeads;
use crate::mini::layout::Layout;
use crate::mini::network::{PolicyStates, Seen, SlotModel, Unseen};
use crate::model::KvCache;
use crate::tokenizer::TokenId;

/// What the cover counts beside the slots, and what slots without words tell.
const COVER: f32 = 0.3;
const TOLD: f32 = 0.5;

/// What a slot without words says by itself: whether there is harm of any kind.
pub const HARM: usize = 0;
/// What it says by the heads of the concepts.
pub const CONCEPTS: usize = 1;

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
    /// What a slot without words should tell.
    told: Vec<Known>,
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

/// What a slot of a reading should say.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub reading: usize,
    /// Of a category's slot its block; of one without words [`HARM`], or [`CONCEPTS`] and those of the recipe from there on.
    pub column: usize,
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
    pub told: Option<Tensor<1>>,
}

impl PanelLoss {
    /// `None` where nothing is known.
    pub fn total(self) -> Option<Tensor<1>> {
        let parts = [self.slots, self.cover.map(|cover| cover * COVER), self.told.map(|told| told * TOLD)]
            .into_iter()
            .flatten();
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

    /// What is known of a reading, whatever it is asked.
    pub fn tell(&mut self, known: Known) {
        self.told.push(known);
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
        !self.known.is_empty() || !self.told.is_empty() || self.has_cover()
    }

    fn has_cover(&self) -> bool {
        !self.covered.is_empty() && !self.cover.is_empty()
    }

    /// Tokens that are read: those of the texts, of the categories, a slot for each pair, and one without words for each reading.
    pub fn tokens(&self) -> usize {
        let texts: usize = self.texts.iter().map(Layout::len).sum();
        let words: usize = self.blocks.iter().map(Vec::len).sum();
        let without_words = usize::from(!self.told.is_empty());
        texts + words + self.readings.len() * (self.blocks.len() + without_words)
    }

    /// The mean losses over what is known: cross-entropy of the slots, of the highest of the cover, and of what a slot without
    /// words tells by the `heads` of the concepts, if there are any.
    pub fn loss(&self, model: &SlotModel, heads: Option<&ConceptHeads>, device: &Device) -> PanelLoss {
        let texts = self.encoded(model, device);
        let asked = !self.known.is_empty() || self.has_cover();
        let logits = asked.then(|| self.logits(model, &texts, device));
        let mean_loss = |known: &[Known], logits: &Tensor<2>| {
            let targets: Vec<f32> = known.iter().map(|known| known.target).collect();
            let weights: Vec<f32> = known.iter().map(|known| known.weight).collect();
            let total: f32 = weights.iter().sum();
            let weights = Tensor::<1>::from_data(weights.as_slice(), device);
            (cross_entropy(pairs(known, logits), &targets) * weights).sum() / total
        };
        let slots = logits.as_ref().filter(|_| !self.known.is_empty()).map(|logits| mean_loss(&self.known, logits));
        let cover = logits.filter(|_| self.has_cover()).map(|logits| {
            let readings: Vec<i32> = self.covered.iter().map(|covered| covered.reading as i32).collect();
            let blocks: Vec<i32> = self.cover.iter().map(|&block| block as i32).collect();
            let targets: Vec<f32> = self.covered.iter().map(|it| f32::from(u8::from(it.harmful))).collect();
            let index = |places: &[i32]| Tensor::<1, Int>::from_data(places, device);
            // The score of a text is that of its highest slot: one false alarm among many silent slots is one.
            let highest = logits.select(0, index(&readings)).select(1, index(&blocks)).max_dim(1);
            cross_entropy(highest.reshape([readings.len()]), &targets).mean()
        });
        let heads = heads.filter(|_| !self.told.is_empty());
        let told = heads.map(|heads| mean_loss(&self.told, &wordless_logits(model, heads, &texts, device)));
        PanelLoss { slots, cover, told }
    }

    /// The scores of the slots of which something is known for sure, with that.
    pub fn scores(&self, model: &SlotModel, device: &Device) -> Vec<(f32, bool)> {
        if self.known.is_empty() {
            return Vec::new();
        }
        decided(&self.known, &self.logits(model, &self.encoded(model, device), device))
    }

    /// The same of the harm that slots without words tell of the texts as wholes.
    pub fn harm(&self, model: &SlotModel, heads: &ConceptHeads, device: &Device) -> Vec<(f32, bool)> {
        let whole = |told: &Known| told.column == HARM && told.reading < self.texts.len();
        let known: Vec<Known> = self.told.iter().copied().filter(whole).collect();
        if known.is_empty() {
            return Vec::new();
        }
        decided(&known, &wordless_logits(model, heads, &self.encoded(model, device), device))
    }

    /// The texts, each read once.
    fn encoded(&self, model: &SlotModel, device: &Device) -> Texts {
        let states = read(model, &self.texts, device);
        let unseen = |reading: &Reading| {
            let padding = self.texts[reading.text].len()..states.len();
            [reading.unseen.as_slice(), &[padding]].concat()
        };
        let unseen = self.readings.iter().map(unseen).collect();
        let states = match self.readings.len() == self.texts.len() {
            true => states,
            false => states.pick(&self.readings.iter().map(|reading| reading.text).collect::<Vec<_>>()),
        };
        Texts { states, unseen }
    }

    /// The logit of every slot, `[readings, blocks]`, as inference computes it.
    fn logits(&self, model: &SlotModel, texts: &Texts, device: &Device) -> Tensor<2> {
        let words: Vec<Layout> = self.blocks.iter().map(|block| Layout::words(block)).collect();
        let words = read(model, &words, device);
        let words = PolicyStates::new(words, self.blocks.iter().map(Vec::len), device);
        let states = texts.slots(model, self.blocks.len(), Some(&words), device);
        model.slot_logits(states).reshape([self.readings.len(), self.blocks.len()])
    }
}

/// What slots see of texts.
struct Texts {
    /// A row for each reading.
    states: KvCache,
    unseen: Vec<Vec<Range<usize>>>,
}

impl Texts {
    /// The states of so many slots in each reading, `[readings, count, hidden]`.
    fn slots(&self, model: &SlotModel, count: usize, words: Option<&PolicyStates>, device: &Device) -> Tensor<3> {
        let shape = [self.unseen.len(), count];
        let mut pass = model.begin_slots(shape, &Unseen::ByRow(&self.unseen), self.states.len(), device);
        model.advance_slots(&mut pass, Seen { shared: &self.states, words }, None, model.layers());
        pass.states
    }
}

/// What the network makes of layouts, a row each.
fn read(model: &SlotModel, layouts: &[Layout], device: &Device) -> KvCache {
    let longest = layouts.iter().map(Layout::len).max().unwrap_or(0);
    let mut cache = model.cache(layouts.len(), longest, device);
    model.forward(&model.batch(&layouts.iter().collect::<Vec<_>>(), 0, device), Some(&mut cache));
    cache
}

/// What a slot without words tells: the logit of harm, and those of the concepts, `[readings, 1 + concepts]`.
fn wordless_logits(model: &SlotModel, heads: &ConceptHeads, texts: &Texts, device: &Device) -> Tensor<2> {
    let states = texts.slots(model, 1, None, device);
    let harm = model.slot_logits(states.clone());
    let logits = Tensor::cat(vec![harm.clone(), heads.forward(states) + harm], 2);
    let [readings, _, told] = logits.dims();
    logits.reshape([readings, told])
}

/// The scores of what is known for sure, with that.
fn decided(known: &[Known], logits: &Tensor<2>) -> Vec<(f32, bool)> {
    let scores = activation::sigmoid(pairs(known, logits)).into_data();
    let decided = |(score, known): (f32, &Known)| {
        (known.target == 0.0 || known.target == 1.0).then_some((score, known.target == 1.0))
    };
    scores.iter::<f32>().zip(known).filter_map(decided).collect()
}

/// The logits of what is known, `[known]`, of all in `[readings, columns]`.
fn pairs(known: &[Known], logits: &Tensor<2>) -> Tensor<1> {
    let [readings, columns] = logits.dims();
    let places: Vec<i32> = known.iter().map(|known| (known.reading * columns + known.column) as i32).collect();
    let places = Tensor::<1, Int>::from_data(places.as_slice(), &logits.device());
    logits.clone().reshape([readings * columns]).select(0, places)
}

/// Binary cross-entropy of each logit: softplus(z) - z * y.
fn cross_entropy(logits: Tensor<1>, labels: &[f32]) -> Tensor<1> {
    let labels = Tensor::<1>::from_data(labels, &logits.device());
    activation::softplus(logits.clone(), 1.0) - logits * labels
}

#[cfg(all(test, feature = "embedded", feature = "native"))]
mod tests {
    use std::sync::Arc;

    use super::super::pupil::HEAD_RATE;
    use super::*;
    use crate::bundle::Bundle;
    use crate::kernels::Matrix;
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
                    panel.know(Known { reading: text, column: block, target: (block % 2) as f32, weight: 1.0 });
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
            let PanelLoss { slots: Some(slots), cover: Some(cover), told: None } = panel.loss(&model, None, &device)
            else {
                panic!("both")
            };
            let expected = mean(alone.iter().map(|&(logit, held)| loss(logit, held)).collect());
            assert!((slots.into_scalar::<f32>() - expected).abs() < 1e-3);
            assert!((cover.into_scalar::<f32>() - loss(alone[3].0.max(alone[5].0), true)).abs() < 1e-3);
        });
    }

    /// A slot without words sees the text and nothing of what else it is asked.
    #[test]
    fn what_is_told_without_words_is_read_from_the_text_alone() {
        pollster::block_on(async {
            let bundle = Bundle::embedded().unwrap();
            let device = Device::flex();
            let config = SlotConfig::from_json(&bundle.manifest().config).unwrap();
            let model = SlotModel::load(&config, &mut bundle.weights(&device).await.unwrap()).unwrap();
            let text = |ids: std::ops::Range<TokenId>| {
                let turn = Turn { kind: Kind::JudgedUser, ids: &ids.collect::<Vec<_>>() };
                Layout::conversation(Frame { cls: 101, sep: 102 }, &[], turn)
            };
            // The shorter one is padded.
            let texts = vec![text(2100..2107), text(2200..2230)];
            // The concept's head adds up what the slot itself leaves out.
            let head = Tensor::ones([1, config.hidden_size], &device) / HEAD_RATE;
            let heads = ConceptHeads::new(Matrix::from_tensor(head));
            let mut panel = Panel::new(texts.clone(), vec![vec![4000]]);
            let mut alone = Vec::new();
            for (reading, mut layout) in texts.into_iter().enumerate() {
                panel.tell(Known { reading, column: HARM, target: 1.0, weight: 1.0 });
                panel.tell(Known { reading, column: CONCEPTS, target: 0.0, weight: 1.0 });
                let slot = layout.push_blocks(model.vocab_size(), &[Vec::new()]).start;
                let state = model.forward(&model.batch(&[&layout], 0, &device), None).narrow(1, slot, 1);
                let harm = model.slot_logits(state.clone()).into_scalar::<f32>();
                alone.push([harm, harm + state.sum().into_scalar::<f32>()]);
            }
            let harm = panel.harm(&model, &heads, &device);
            assert_eq!(harm.len(), 2);
            for ((score, holds), [logit, _]) in harm.iter().zip(&alone) {
                let expected = 1.0 / (1.0 + (-logit).exp());
                assert!((score - expected).abs() < 1e-3 && *holds, "{score}, alone {expected}");
            }
            let PanelLoss { told: Some(told), .. } = panel.loss(&model, Some(&heads), &device) else { panic!("told") };
            let softplus = |logit: f32| logit.max(0.0) + (-logit.abs()).exp().ln_1p();
            let losses = alone.iter().map(|[harm, concept]| softplus(-harm) + softplus(*concept));
            let expected = losses.sum::<f32>() / 4.0;
            let told = told.into_scalar::<f32>();
            assert!((told - expected).abs() < 1e-3 * expected.max(1.0), "{told}, alone {expected}");
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
                    panel.know(Known { reading, column: block, target: 0.0, weight: 1.0 });
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
