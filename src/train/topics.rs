//! What a text is about, as categories: an owner forbids more than harm, so a model must also tell whether a text speaks
//! of what he names.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::sample::{Asked, Sample};
use crate::error::Result;
use crate::tokenizer::{TokenId, Tokenizer};

/// Topics that texts are asked about, half of them of other texts.
const TOPICS: usize = 16;
/// A topic's word stands in so many texts at least, and in this share of them at most.
const LEAST: usize = 3;
const MOST: f64 = 0.004;
/// A word beside it may be more common.
const BESIDE: f64 = 0.03;
/// How a policy may name a topic, and what it may say of it; `{}` is the topic.
const FRAMES: [(&str, &str); 8] = [
    ("{}", ""),
    ("{}", "Asking for or talking about {}."),
    ("talk about {}", ""),
    ("questions about {}", "Any question or statement about {} and what belongs to it."),
    ("{} and related matters", ""),
    ("advice on {}", "Somebody asks for or gives advice on {}."),
    ("mentions of {}", ""),
    ("anything to do with {}", "The message is about {}, whatever it says of it."),
];

/// Words before and behind a topic.
type Around = (Vec<TokenId>, Vec<TokenId>);

/// What is seen of a text, and where its words begin and end.
struct Said<'s> {
    words: &'s [TokenId],
    starts: HashSet<usize>,
    ends: HashSet<usize>,
}

impl Said<'_> {
    /// Whether it holds this run of whole words.
    fn runs(&self, run: &[TokenId]) -> bool {
        let mut places = self.words.windows(run.len()).enumerate();
        places.any(|(at, found)| found == run && self.starts.contains(&at) && self.ends.contains(&(at + run.len())))
    }
}

/// The topics of all texts.
#[derive(Default)]
pub struct Topics<'a> {
    samples: Vec<&'a Sample>,
    /// How many texts hold a word.
    counts: HashMap<&'a [TokenId], usize>,
    marks: HashSet<TokenId>,
    frames: Vec<(Around, Option<Around>)>,
}

impl<'a> Topics<'a> {
    /// # Errors
    /// Whatever the tokenizer has wrong.
    pub fn among(samples: impl IntoIterator<Item = &'a Sample>, tokenizer: &Tokenizer) -> Result<Self> {
        let ids =
            |text: &str| -> Result<Vec<TokenId>> { Ok(tokenizer.encode(text)?.iter().map(|span| span.id).collect()) };
        let around = |frame: &str| -> Result<Around> {
            let (before, behind) = frame.split_once("{}").unwrap_or((frame, ""));
            Ok((ids(before)?, ids(behind)?))
        };
        let frame = |(name, definition): &(&str, &str)| {
            Ok((around(name)?, if definition.is_empty() { None } else { Some(around(definition)?) }))
        };
        let marks = ids("! \" # $ % & ' ( ) * + , - . / : ; < = > ? @ [ \\ ] ^ _ ` { | } ~")?;
        let frames = FRAMES.iter().map(frame).collect::<Result<_>>()?;
        Ok(Self { frames, ..Self::counted(samples.into_iter().collect(), marks.into_iter().collect()) })
    }

    fn counted(samples: Vec<&'a Sample>, marks: HashSet<TokenId>) -> Self {
        let mut topics = Self { samples, counts: HashMap::new(), marks, frames: Vec::new() };
        for sample in &topics.samples {
            let words = topics.words(sample, 0..sample.judged.len());
            let words: HashSet<&[TokenId]> = words.map(|word| &sample.judged[word]).collect();
            words.into_iter().for_each(|word| *topics.counts.entry(word).or_default() += 1);
        }
        topics
    }

    /// Topics of some of the texts, of which these stretches are seen, and as many of others, as categories; with whether each
    /// text speaks of each, `None` where it says a part of it.
    pub fn ask(&self, texts: &[(&Sample, Range<usize>)], rng: &mut ChaCha8Rng) -> Vec<(Asked, Vec<Option<bool>>)> {
        let own = texts.sample(rng, TOPICS / 2).cloned().collect::<Vec<_>>();
        let others: Vec<&Sample> = self.samples.sample(rng, TOPICS / 2).copied().collect();
        let asked = own.into_iter().chain(others.into_iter().map(|sample| (sample, 0..sample.judged.len())));
        // Drawn alike, so that a name says nothing about whether it applies.
        let topics: BTreeSet<&[TokenId]> = asked.filter_map(|(sample, seen)| self.topic(sample, seen, rng)).collect();
        let said: Vec<Said> = texts.iter().map(|(sample, seen)| self.said(sample, seen.clone())).collect();
        let speaks = |topic: &[TokenId], said: &Said| match said.words.windows(topic.len()).any(|run| run == topic) {
            _ if said.runs(topic) => Some(true),
            true => None,
            false => self.parts(topic).all(|word| !said.runs(word)).then_some(false),
        };
        let of = |topic: &[TokenId]| said.iter().map(|said| speaks(topic, said)).collect();
        topics.into_iter().map(|topic| (self.category(topic, rng), of(topic))).collect()
    }

    fn said<'s>(&self, sample: &'s Sample, seen: Range<usize>) -> Said<'s> {
        let words = self.words(sample, seen.clone()).map(|word| word.start - seen.start..word.end - seen.start);
        let (starts, ends) = words.map(|word| (word.start, word.end)).unzip();
        Said { words: &sample.judged[seen], starts, ends }
    }

    /// One or two words of a text, of which one is rare.
    fn topic<'s>(&self, sample: &'s Sample, seen: Range<usize>, rng: &mut ChaCha8Rng) -> Option<&'s [TokenId]> {
        let words: Vec<Range<usize>> = self.words(sample, seen).collect();
        let rare: Vec<usize> =
            (0..words.len()).filter(|&at| self.count(&sample.judged[words[at].clone()], MOST)).collect();
        let &at = rare.choose(rng)?;
        let beside = [at.wrapping_sub(1), at + 1];
        let joins = |other: &&usize| {
            let Some(word) = words.get(**other) else { return false };
            let touches = word.end == words[at].start || words[at].end == word.start;
            touches && self.count(&sample.judged[word.clone()], BESIDE)
        };
        let with = if rng.random_bool(0.5) { beside.iter().find(joins) } else { None };
        let (first, last) = with.map_or((at, at), |&with| (at.min(with), at.max(with)));
        Some(&sample.judged[words[first].start..words[last].end])
    }

    /// Whether a word stands in a few texts, but in no more than this share of them.
    fn count(&self, word: &[TokenId], most: f64) -> bool {
        let count = self.counts.get(word).copied().unwrap_or(0);
        count >= LEAST && count as f64 <= most * self.samples.len() as f64
    }

    /// The words of a text, without the marks at them.
    fn words(&self, sample: &Sample, seen: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let starts: Vec<usize> = seen.clone().filter(|&at| sample.word_starts[at]).collect();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([seen.end]).collect();
        let mark = |at: &usize| self.marks.contains(&sample.judged[*at]);
        let bare = |(start, end): (usize, usize)| {
            let start = (start..end).find(|at| !mark(at)).unwrap_or(end);
            start..(start..end).find(mark).unwrap_or(end)
        };
        let words: Vec<Range<usize>> = starts.into_iter().zip(ends).map(bare).filter(|word| !word.is_empty()).collect();
        words.into_iter()
    }

    /// The words that a topic can be told by: all runs of its tokens that are words.
    fn parts<'t>(&'t self, topic: &'t [TokenId]) -> impl Iterator<Item = &'t [TokenId]> {
        let runs = (0..topic.len()).flat_map(move |start| (start + 1..=topic.len()).map(move |end| &topic[start..end]));
        runs.filter(|word| self.counts.get(word).is_some_and(|&count| count as f64 <= MOST * self.samples.len() as f64))
    }

    fn category(&self, topic: &[TokenId], rng: &mut ChaCha8Rng) -> Asked {
        let filled = |(before, behind): &Around| [before, topic, behind].concat();
        let (name, definition) = &self.frames[rng.random_range(0..self.frames.len())];
        let definition = definition.as_ref().map(filled).unwrap_or_default();
        Asked { name: filled(name), definition, target: None }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::data::recipe::Facts;
    use crate::mini::layout::Kind;

    fn sample(judged: Vec<TokenId>) -> Sample {
        Sample {
            word_starts: vec![true; judged.len()],
            judged,
            core: None,
            context: Vec::new(),
            kind: Kind::JudgedUser,
            facts: Facts::default(),
            asked: Vec::new(),
        }
    }

    #[test]
    fn a_text_speaks_of_its_own_topics_and_not_of_those_of_others() {
        // Each text: the words that all have, 1 and 2, and one that only it and two more have.
        let samples: Vec<Sample> = (0..3000).map(|at| sample(vec![1, 2, 100 + at / 3, 1])).collect();
        let topics = Topics {
            frames: vec![((vec![7], vec![8]), None)],
            ..Topics::counted(samples.iter().collect(), HashSet::new())
        };
        let texts: Vec<(&Sample, Range<usize>)> = samples[..600].iter().map(|sample| (sample, 0..4)).collect();
        let asked = topics.ask(&texts, &mut ChaCha8Rng::seed_from_u64(1));
        let mut own = 0;
        for (asked, speaks) in &asked {
            assert_eq!((asked.name[0], asked.name.len(), asked.name[2]), (7, 3, 8), "common words are no topics");
            for ((sample, _), speaks) in texts.iter().zip(speaks) {
                assert_eq!(*speaks, Some(sample.judged.contains(&asked.name[1])));
            }
            own += usize::from(speaks.contains(&Some(true)));
        }
        assert!((12..=TOPICS).contains(&asked.len()) && (7..13).contains(&own), "{own} of {}", asked.len());
    }

    #[test]
    fn nobody_says_whether_a_text_speaks_of_a_topic_that_it_says_in_part() {
        let mut samples: Vec<Sample> = (0..3000).map(|at| sample(vec![1, 100 + at / 3, 2, 1])).collect();
        (0..5).for_each(|_| samples.push(sample(vec![20, 21])));
        (0..5).for_each(|_| samples.push(sample(vec![20, 1])));
        // The second token goes on the word of the first.
        (0..5).for_each(|_| samples.push(Sample { word_starts: vec![true, false, true], ..sample(vec![20, 30, 1]) }));
        let frames = vec![((vec![], vec![]), None)];
        let topics = Topics { frames, ..Topics::counted(samples.iter().collect(), HashSet::new()) };
        let texts = [(&samples[3000], 0..2), (&samples[3005], 0..2), (&samples[0], 0..4), (&samples[3010], 0..3)];
        let asked: Vec<_> = (0..60).flat_map(|seed| topics.ask(&texts, &mut ChaCha8Rng::seed_from_u64(seed))).collect();
        let of = |name: &[TokenId]| {
            let mut of_name = asked.iter().filter(|(asked, _)| asked.name == name).map(|(_, speaks)| speaks.clone());
            let first = of_name.next().expect("it is asked");
            assert!(of_name.all(|other| other == first));
            first
        };
        assert_eq!(of(&[20, 21]), [Some(true), None, Some(false), Some(false)]);
        assert_eq!(of(&[20]), [Some(true), Some(true), Some(false), None], "the last one only begins a word like it");
    }
}
