//! Harmless answers, and such with a harmful passage at some place, made of rows of our own.

use std::fs::read_dir;
use std::path::Path;

use pollster::block_on;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rsafe::data::rows::{Label, Row, labelled_rows};
use rsafe::{Conversation, Decision, Guard, Message, Reasoning, Request, Role};
use unicode_segmentation::UnicodeSegmentation;

const SEED: u64 = 16;
/// Characters of a harmless answer.
const SIZES: std::ops::RangeInclusive<usize> = 600..=2000;
/// Sentences of a passage.
const SENTENCES: std::ops::RangeInclusive<usize> = 1..=4;

pub struct Texts {
    safe: Vec<String>,
    harmful: Vec<String>,
    random: ChaCha8Rng,
}

/// A harmless answer with a passage in it, which lies between two characters.
pub struct Planted {
    pub text: String,
    pub start: usize,
    pub end: usize,
}

impl Planted {
    /// The share of the passage that is shown with so many characters of the text.
    pub fn share(&self, shown: usize) -> f64 {
        (shown.clamp(self.start, self.end) - self.start) as f64 / (self.end - self.start) as f64
    }
}

impl Texts {
    /// English responses of the split that no version was trained on.
    pub fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/data/rows");
        let files = read_dir(folder).expect("the rows of our own").map(|entry| entry.expect("a file").path());
        let mut files: Vec<_> = files.filter(|path| name(path).starts_with("responses-")).collect();
        files.sort();
        let mut rows = labelled_rows(&files).expect("rows of our own");
        rows.retain(|row| row.split == "dev" && row.lang == "en");
        let of = |label: Label| {
            let rows = rows.iter().filter(move |row| row.label == label);
            rows.filter_map(|row: &Row| Some(row.response.as_ref()?.trim().to_owned()))
        };
        let harmful = of(Label::Unsafe).filter(|text| SENTENCES.contains(&text.unicode_sentences().count()));
        Self { safe: of(Label::Safe).collect(), harmful: harmful.collect(), random: ChaCha8Rng::seed_from_u64(SEED) }
    }

    /// Safe responses, one behind the other, whatever the model makes of them.
    pub fn answer(&mut self) -> String {
        responses(&self.safe, &mut self.random).join(" ")
    }

    /// Passages that the model flags alone, each between two responses of an answer of which it flags neither a response nor
    /// the whole: how it is wrong about answers without a passage is counted elsewhere.
    pub fn planted(&mut self, guard: &Guard, count: usize) -> Vec<Planted> {
        let harmful = std::mem::take(&mut self.harmful);
        let candidates = harmful.sample(&mut self.random, harmful.len());
        let passages: Vec<&String> = candidates.filter(|passage| flagged(guard, passage)).take(count).collect();
        assert_eq!(passages.len(), count, "expected more passages that are flagged alone");
        let calm: Vec<String> = self.safe.iter().filter(|text| !flagged(guard, text)).cloned().collect();
        passages.into_iter().map(|passage| self.plant(guard, &calm, passage)).collect()
    }

    fn plant(&mut self, guard: &Guard, calm: &[String], passage: &str) -> Planted {
        loop {
            let mut responses = responses(calm, &mut self.random);
            if flagged(guard, &responses.join(" ")) {
                continue;
            }
            let at = self.random.random_range(0..=responses.len());
            let start = responses[..at].iter().map(|text| text.chars().count() + 1).sum();
            responses.insert(at, passage.to_owned());
            return Planted { text: responses.join(" "), start, end: start + passage.chars().count() };
        }
    }
}

fn responses(safe: &[String], random: &mut ChaCha8Rng) -> Vec<String> {
    let size = random.random_range(SIZES);
    let (mut responses, mut length) = (Vec::new(), 0);
    loop {
        let next = safe.choose(random).expect("safe responses").clone();
        let chars = next.chars().count();
        if length >= *SIZES.start() && length + chars > size {
            return responses;
        }
        responses.push(next);
        length += chars + 1;
    }
}

/// Whether the text alone is blocked, as a response that answers nothing.
pub fn flagged(guard: &Guard, text: &str) -> bool {
    let conversation = Conversation::of(vec![Message::new(Role::Assistant, text)]);
    let request = Request::new(conversation).reasoning(Reasoning::Never);
    block_on(guard.check(&request)).expect("the text fits").decision == Decision::Block
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
