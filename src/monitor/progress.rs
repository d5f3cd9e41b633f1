//! Where a growing response is cut: up to where it is checked next, from where that check reads, and how much of what
//! passed may be shown. Knows no model.
//!
//! Cuts depend on the text and on what checks found, never on the pieces in which it arrives; but for those of a check
//! that somebody asked for before it was due.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

use super::MonitorOptions;
use super::risk::Risk;
use super::sentences::{Place, Sentences};
use crate::error::{Error, Result};

/// Characters of the longest response: what rules cost grows with the square of it.
pub(super) const MAX_RESPONSE: usize = 1 << 18;
/// So many characters a cut goes back to find the end of a word; a longer word may be cut.
const WORD: usize = 32;
/// The first check may be so small a part of `check_every`; each that follows twice as large, up to a half.
const FIRST: usize = 16;

/// A response so far. Places are always between two characters of its text: `from <= shown <= checked <= text.len()`.
pub(super) struct Progress {
    text: String,
    chars: usize,
    check_every: usize,
    hold_back: usize,
    context: usize,
    sentences: Sentences,
    risk: Risk,
    /// So many characters are new to the next check at least, where it falls on the end of a sentence.
    least: usize,
    /// Where checks begin to read.
    from: usize,
    shown: Place,
    checked: Place,
}

/// What a check reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    from: usize,
    to: Place,
    /// Whether it was not due.
    early: bool,
}

impl Stretch {
    pub fn bytes(&self) -> Range<usize> {
        self.from..self.to.byte
    }

    /// How many characters of the response are known to the check.
    pub fn seen(&self) -> usize {
        self.to.chars
    }
}

impl Progress {
    pub fn new(options: &MonitorOptions) -> Self {
        Self {
            text: String::new(),
            chars: 0,
            check_every: options.check_every,
            hold_back: options.hold_back,
            context: options.context,
            sentences: Sentences::default(),
            risk: Risk::new(options),
            least: options.check_every.div_ceil(FIRST),
            from: 0,
            shown: Place::default(),
            checked: Place::default(),
        }
    }

    /// More of the response.
    ///
    /// # Errors
    /// [`Error::BadInput`] if it becomes too long; the text is then not taken.
    pub fn push(&mut self, text: &str) -> Result<()> {
        let chars = self.chars + text.chars().count();
        if chars > MAX_RESPONSE {
            return Err(Error::BadInput(format!(
                "monitor: expected a response of at most {MAX_RESPONSE} characters, got {chars}; \
                 split it into responses that are judged each on its own"
            )));
        }
        self.text.push_str(text);
        self.chars = chars;
        self.sentences.read(&self.text);
        Ok(())
    }

    /// The whole response so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many characters that is.
    pub fn chars(&self) -> usize {
        self.chars
    }

    /// What the next check reads, once it is due: up to the first sentence's end that is far enough, or to the end of a word
    /// within `check_every` new characters; with what came before them and all that is not shown yet.
    pub fn due(&self) -> Option<Stretch> {
        let last = self.checked.chars + self.check_every;
        let end = self.sentences.first_from(self.checked.chars + self.least);
        if let Some(end) = end.filter(|end| end.chars <= last) {
            return Some(self.stretch(end, false));
        }
        // One more tells that no sentence ends with the last of them.
        if self.chars <= last {
            return None;
        }
        let new = &self.text[self.checked.byte..];
        let full = self.checked.byte + new.char_indices().nth(self.check_every).map_or(new.len(), |(at, _)| at);
        // Half of them are new at least, so that short steps go on.
        let to = after_word(&self.text[..full], WORD.min(self.check_every / 2)).unwrap_or(full);
        Some(self.stretch(self.place(self.checked, to), false))
    }

    /// What a check reads that does not wait until it is due; `None` where nothing is new.
    pub fn early(&self) -> Option<Stretch> {
        let end = Place { byte: self.text.len(), chars: self.chars };
        (end != self.checked).then(|| self.stretch(end, true))
    }

    fn stretch(&self, to: Place, early: bool) -> Stretch {
        // Beginning at the same place as the check before, a check adds to what the engine has read already; so the
        // beginning moves seldom, by more than it must.
        let longest = self.context + 2 * self.check_every;
        let from = if self.text[self.from..to.byte].chars().nth(longest).is_none() {
            self.from
        } else {
            self.beginning().clamp(self.from, self.shown.byte)
        };
        Stretch { from, to, early }
    }

    /// Where a sentence begins, or else a word, before the context.
    fn beginning(&self) -> usize {
        let chars = self.checked.chars.saturating_sub(self.context);
        let sentence = self.sentences.last_within(chars).filter(|end| end.chars + self.check_every >= chars);
        sentence.map_or_else(
            || {
                let before = back(&self.text[..self.checked.byte], self.context);
                after_word(&self.text[..before], WORD).unwrap_or(before)
            },
            |end| end.byte,
        )
    }

    /// Counts a stretch as checked and passed, so near to stopping the response (in [0, 1]): the text that may be shown
    /// with it.
    pub fn pass(&mut self, stretch: Stretch, nearness: f32) -> &str {
        self.risk.add(nearness);
        self.least = (2 * self.least).min(self.check_every.div_ceil(2));
        self.from = stretch.from;
        self.checked = stretch.to;
        self.sentences.forget(self.from);
        // What lies behind the check is not looked at: the cut must not depend on whether it has arrived.
        let (checked, hold) = (self.checked.chars, self.risk.hold_back());
        let whole = self.sentences.last_within(checked.saturating_sub(hold));
        // Of a sentence whose end nobody waits for, words are shown, as of one that does not seem to end.
        let begun = self.sentences.last_within(checked).map_or(0, |end| end.chars);
        let least = match stretch.early {
            true => Some(self.hold_back),
            false => (checked - begun > 2 * self.check_every).then_some(self.hold_back.max(self.check_every)),
        };
        let words = least.map(|least| self.words(hold.max(least))).filter(|end| end.chars > begun);
        self.show([whole, words].into_iter().flatten().fold(self.shown, Place::max))
    }

    /// The end of a word at least so many characters before the end of what was checked.
    fn words(&self, hold: usize) -> Place {
        let checked = &self.text[..self.checked.byte];
        let limit = back(checked, hold);
        let end = after_word(&checked[..limit], WORD).filter(|&end| end > self.shown.byte);
        self.place(self.shown, end.unwrap_or_else(|| whole_grapheme(checked, limit)).max(self.shown.byte))
    }

    /// The place at a byte, which is not before that of `from`.
    fn place(&self, from: Place, byte: usize) -> Place {
        Place { byte, chars: from.chars + self.text[from.byte..byte].chars().count() }
    }

    /// The text that is not shown yet, which may be shown at the end.
    pub fn rest(&mut self) -> &str {
        self.checked = Place { byte: self.text.len(), chars: self.chars };
        self.show(self.checked)
    }

    fn show(&mut self, end: Place) -> &str {
        let start = std::mem::replace(&mut self.shown, end);
        &self.text[start.byte..end.byte]
    }
}

/// The place `chars` characters before the end, or 0.
fn back(text: &str, chars: usize) -> usize {
    match chars {
        0 => text.len(),
        _ => text.char_indices().rev().nth(chars - 1).map_or(0, |(at, _)| at),
    }
}

/// The last place behind white space, at most `reach` characters before the end.
fn after_word(text: &str, reach: usize) -> Option<usize> {
    let ends = text.char_indices().rev().take(reach + 1);
    ends.into_iter().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8())
}

/// `at`, or the place before it where a character as readers see it, such as a flag, does not fall apart.
fn whole_grapheme(text: &str, at: usize) -> usize {
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    // The whole text is at hand, so the cursor asks for no more of it.
    match cursor.is_boundary(text, 0) {
        Ok(false) => cursor.prev_boundary(text, 0).ok().flatten().unwrap_or(0),
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Pace;
    use super::*;

    fn sizes(check_every: usize, hold_back: usize, context: usize) -> MonitorOptions {
        MonitorOptions { check_every, hold_back, context, pace: Pace::Steady, ..Default::default() }
    }

    /// What happened at a check that passed: what it read, and how much was shown and checked after it.
    #[derive(Debug, PartialEq)]
    struct Step {
        read: Range<usize>,
        shown: usize,
        checked: usize,
    }

    /// What a judge made of a text: the checks that passed, what was shown, and the stretch that did not pass.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        steps: Vec<Step>,
        shown: String,
        condemned: Option<Range<usize>>,
    }

    /// Lets a text arrive in pieces before a judge who says how near a stretch comes to the limit, 1.
    fn judged(options: &MonitorOptions, pieces: &[&str], judge: impl Fn(&str) -> f32) -> Outcome {
        let mut progress = Progress::new(options);
        let mut outcome = Outcome { steps: Vec::new(), shown: String::new(), condemned: None };
        for piece in pieces {
            progress.push(piece).unwrap();
            while let Some(stretch) = progress.due() {
                let read = stretch.bytes();
                let nearness = judge(&progress.text[read.clone()]);
                if nearness >= 1.0 {
                    return Outcome { condemned: Some(read), ..outcome };
                }
                outcome.shown.push_str(progress.pass(stretch, nearness));
                let (shown, checked) = (progress.shown, progress.checked);
                assert!(progress.text.starts_with(&outcome.shown) && outcome.shown.len() == shown.byte);
                assert!([shown, checked].iter().all(|at| progress.text[..at.byte].chars().count() == at.chars));
                outcome.steps.push(Step { read, shown: shown.byte, checked: checked.byte });
            }
        }
        // The end is judged as a whole.
        if judge(&progress.text) >= 1.0 {
            return Outcome { condemned: Some(0..progress.text.len()), ..outcome };
        }
        outcome.shown.push_str(progress.rest());
        outcome
    }

    /// The checks of a text in which nobody sees anything.
    fn steps(options: &MonitorOptions, text: &str) -> Vec<Step> {
        judged(options, &[text], |_| 0.0).steps
    }

    /// The more of it stands in capitals, the worse; and three marks in a row are too much.
    fn stub(text: &str) -> f32 {
        let capitals = text.chars().filter(|c| c.is_uppercase()).count();
        if text.contains("XXX") { 1.0 } else { (capitals as f32 / 20.0).min(0.99) }
    }

    /// The pieces of a text that is cut behind these characters.
    fn split<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
        let mut cuts: Vec<usize> = cuts.iter().filter_map(|&cut| Some(text.char_indices().nth(cut)?.0)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
    }

    fn text() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => "[A-Za-z]{1,9}[.,]? ",
            2 => "[a-z]{1,9}[.!?]\n{0,2}",
            1 => "[a-z]{30,80}",
            1 => Just("XXX. ".to_owned()),
            1 => Just("\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}".to_owned()),
            1 => Just("\u{1F1E9}\u{1F1EA}".to_owned()),
            1 => Just("e\u{301}\u{323}".to_owned()),
            1 => "[\u{4e00}-\u{4e20}]{1,12}[。！]?\n?",
            1 => "\\PC{0,6}",
        ];
        proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
    }

    fn options() -> impl Strategy<Value = MonitorOptions> {
        let pace = prop_oneof![Just(Pace::Steady), Just(Pace::Adaptive)];
        (1..80usize, 0..60usize, 0..60usize, pace)
            .prop_map(|(check_every, hold_back, context, pace)| sizes(check_every, hold_back, context).pace(pace))
    }

    proptest! {
        #[test]
        fn what_is_read_and_shown_does_not_depend_on_the_pieces(
            text in text(),
            cuts in proptest::collection::vec(0..400usize, 0..40),
            options in options(),
        ) {
            let whole = judged(&options, &[&text], stub);
            prop_assert!(whole.condemned.is_some() || whole.shown == text);
            prop_assert_eq!(&whole, &judged(&options, &split(&text, &cuts), stub));
            let mut each = [0; 4];
            let chars: Vec<String> = text.chars().map(|c| c.encode_utf8(&mut each).to_owned()).collect();
            prop_assert_eq!(&whole, &judged(&options, &chars.iter().map(String::as_str).collect::<Vec<_>>(), stub));
        }

        #[test]
        fn nothing_is_shown_that_no_check_let_pass(text in text(), options in options()) {
            let outcome = judged(&options, &[&text], stub);
            let passed = outcome.steps.last().map_or(0, |step| step.checked);
            prop_assert!(outcome.condemned.is_none() || outcome.shown.len() <= passed);
            let (mut shown, mut checked) = (0, 0);
            for step in outcome.steps {
                let new = text[checked..step.checked].chars().count();
                prop_assert!((1..=options.check_every).contains(&new), "{new}");
                // Every check reads what the checks before have let pass and nobody has seen.
                prop_assert!(step.read.start <= shown && step.read.end == step.checked);
                prop_assert!(step.shown >= shown && step.shown <= step.checked);
                (shown, checked) = (step.shown, step.checked);
            }
            prop_assert!(outcome.condemned.is_none_or(|read| read.start <= shown));
        }

        #[test]
        fn a_sentence_that_a_check_condemns_is_not_shown_at_all(
            before in proptest::collection::vec("[a-z]{1,9}( [a-z]{1,9}){0,6}[.!?] ", 0..30),
            bad in "[a-z]{1,9}( [a-z]{1,9}){0,4} XXX( [a-z]{1,9}){0,4}[.!?] ",
            after in proptest::collection::vec("[a-z]{1,9}( [a-z]{1,9}){0,6}[.!?] ", 3..9),
            pace in prop_oneof![Just(Pace::Steady), Just(Pace::Adaptive)],
        ) {
            let before: String = before.iter().map(|sentence| format!("A{sentence}")).collect();
            let text = format!("{before}B{bad}{}", after.iter().map(|s| format!("C{s}")).collect::<String>());
            let outcome = judged(&sizes(160, 24, 120).pace(pace), &[&text], |read| f32::from(read.contains("XXX")));
            prop_assert!(outcome.condemned.is_some() && before.starts_with(&outcome.shown), "{}", outcome.shown);
        }

        #[test]
        fn a_steady_pace_keeps_what_was_asked_for(text in text(), options in options()) {
            let mut shown = 0;
            for step in steps(&options.pace(Pace::Steady), &text) {
                let held = text[step.shown..step.checked].chars().count();
                prop_assert!(step.shown == shown || held >= options.hold_back, "{held}");
                shown = step.shown;
            }
        }

        #[test]
        fn the_nearer_the_limit_the_less_is_shown(text in text(), options in options(), near in 0.0..1.0f32, far in 0.0..1.0f32) {
            let options = options.pace(Pace::Adaptive);
            let [near, far] = [near.max(far), near.min(far)].map(|risk| judged(&options, &[&text], |_| risk).steps);
            prop_assert_eq!(near.len(), far.len());
            prop_assert!(near.iter().zip(&far).all(|(near, far)| near.checked == far.checked && near.shown <= far.shown));
        }

        #[test]
        fn a_check_reads_its_context_before_what_is_new(text in text(), options in options()) {
            let mut checked = 0;
            for step in steps(&options, &text) {
                let before = text[step.read.start..checked].chars().count();
                prop_assert!(step.read.start == 0 || before >= options.context, "{before}");
                checked = step.checked;
            }
        }

        #[test]
        fn checks_are_bounded_in_number_and_size(
            text in "([a-z]{1,9}[.]? [A-Z]?){100,500}", options in options(), risk in 0.0..1.0f32,
        ) {
            let steps = judged(&options, &[&text], |_| risk).steps;
            // The first checks may be small.
            prop_assert!(steps.len() <= 5 + text.len() / options.check_every.div_ceil(2), "{}", steps.len());
            // At most twice what is held back waits behind the tail of a long sentence.
            let most = options.context + 8 * options.check_every + 16 * options.hold_back + 2 * WORD;
            prop_assert!(steps.iter().all(|step| step.read.len() <= most), "{most}");
        }
    }

    /// What stands between two marks as sentences and as words.
    const TALK: &str = "An assistant that is talkative answers interminably. It says so, too! ";

    #[test]
    fn checks_fall_where_sentences_end_and_begin_small() {
        let text = TALK.repeat(20);
        let steps = steps(&sizes(160, 0, 50), &text);
        assert!(steps.iter().all(|step| text[..step.checked].ends_with([' ']) && step.shown == step.checked));
        assert!(steps.iter().all(|step| text[..step.checked].trim_end().ends_with(['.', '!'])), "{steps:?}");
        let new: Vec<usize> = steps.windows(2).map(|pair| pair[1].checked - pair[0].checked).collect();
        assert_eq!(steps[0].checked, 53);
        assert!(new.iter().skip(3).all(|new| (80..=160).contains(new)), "{new:?}");
    }

    #[test]
    fn a_sentence_that_does_not_end_is_shown_in_whole_words_behind_the_checks() {
        let text = "an assistant that is talkative answers interminably and says so ".repeat(20);
        let steps = steps(&sizes(50, 7, 50), &text);
        for step in &steps {
            assert!(text[..step.checked].ends_with(' ') && text[..step.shown].ends_with([' ']) || step.shown == 0);
            let held = step.checked - step.shown;
            assert!((step.shown == 0 || held >= 50) && held <= 2 * 50 + WORD, "{held}");
        }
        assert!(steps.last().unwrap().shown > text.len() - 200);
    }

    #[test]
    fn what_a_reader_sees_as_one_character_does_not_fall_apart() {
        let family = "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}";
        let text = family.repeat(40);
        for hold_back in 1..12 {
            let steps = steps(&sizes(3, hold_back, 9), &text);
            assert!(steps.iter().all(|step| step.shown % family.len() == 0));
            assert!(steps.last().unwrap().shown > 0);
        }
    }

    #[test]
    fn an_early_check_shows_words_of_a_sentence_but_what_is_held_back() {
        let mut progress = Progress::new(&sizes(160, 8, 120));
        assert_eq!(progress.early(), None);
        progress.push("Warm the pot slowly, then").unwrap();
        assert_eq!(progress.due(), None);
        let early = progress.early().unwrap();
        assert_eq!((early.bytes(), early.seen()), (0..25, 25));
        assert_eq!(progress.pass(early, 0.0), "Warm the pot ");
        assert_eq!(progress.early(), None);
        assert_eq!(progress.rest(), "slowly, then");
    }

    #[test]
    fn a_response_without_an_end_is_refused() {
        let mut progress = Progress::new(&sizes(160, 24, 160));
        progress.push(&"é".repeat(MAX_RESPONSE)).unwrap();
        assert_eq!(progress.push("é").unwrap_err().code(), "bad_input");
        assert_eq!(progress.chars(), MAX_RESPONSE);
    }
}
