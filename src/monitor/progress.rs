//! Where a growing response is cut: up to where it is checked next, from where that check reads, and how much of what
//! passed may be shown. Knows no model.
//!
//! Cuts depend on the text alone, never on the pieces in which it arrives.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

use super::MonitorOptions;
use crate::{Error, Result};

/// Characters of the longest response: what rules cost grows with the square of it.
pub(super) const MAX_RESPONSE: usize = 1 << 18;
/// So many characters a cut goes back to find the end of a word; a longer word may be cut.
const WORD: usize = 32;

/// A response so far. Places are bytes of its text, always between two characters:
/// `from <= shown <= checked <= text.len()`.
pub(super) struct Progress {
    text: String,
    chars: usize,
    check_every: usize,
    hold_back: usize,
    context: usize,
    /// Where checks begin to read.
    from: usize,
    shown: usize,
    checked: usize,
    checked_chars: usize,
}

impl Progress {
    pub fn new(options: &MonitorOptions) -> Self {
        Self {
            text: String::new(),
            chars: 0,
            check_every: options.check_every,
            hold_back: options.hold_back,
            context: options.context,
            from: 0,
            shown: 0,
            checked: 0,
            checked_chars: 0,
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

    /// How many characters of it are known to a check that reads `stretch`.
    pub fn seen_by(&self, stretch: &Range<usize>) -> usize {
        self.checked_chars + self.text[self.checked..stretch.end].chars().count()
    }

    /// What the next check reads, once there is enough that is new: up to `check_every` characters, ending with a word
    /// where one ends soon enough, with what came before them and all that is not shown yet.
    pub fn due(&self) -> Option<Range<usize>> {
        let (at, last) = self.text[self.checked..].char_indices().nth(self.check_every - 1)?;
        let full = self.checked + at + last.len_utf8();
        // Half of them are new at least, so that short steps go on.
        let to = after_word(&self.text[..full], WORD.min(self.check_every / 2)).unwrap_or(full);
        // Beginning at the same place as the check before, a check adds to what the engine has read already; so the
        // beginning moves seldom, by more than it must.
        let longest = self.context + 2 * self.check_every;
        let from = if self.text[self.from..to].chars().nth(longest).is_none() {
            self.from
        } else {
            let before = back(&self.text[..self.checked], self.context);
            let word = after_word(&self.text[..before], WORD).unwrap_or(before);
            word.clamp(self.from, self.shown)
        };
        Some(from..to)
    }

    /// Counts what [`due`](Self::due) gave as checked and passed: the text that may be shown with it.
    pub fn pass(&mut self, stretch: Range<usize>) -> &str {
        self.checked_chars = self.seen_by(&stretch);
        self.from = stretch.start;
        self.checked = stretch.end;
        // What lies behind the check is not looked at: the cut must not depend on whether it has arrived.
        let checked = &self.text[..self.checked];
        let limit = back(checked, self.hold_back);
        let end = after_word(&checked[..limit], WORD).filter(|&end| end > self.shown);
        self.show(end.unwrap_or_else(|| whole_grapheme(checked, limit)))
    }

    /// The text that is not shown yet, which may be shown at the end.
    pub fn rest(&mut self) -> &str {
        self.checked = self.text.len();
        self.checked_chars = self.chars;
        self.show(self.checked)
    }

    fn show(&mut self, end: usize) -> &str {
        let start = self.shown;
        self.shown = end.max(start);
        &self.text[start..self.shown]
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

    use super::*;

    fn sizes(check_every: usize, hold_back: usize, context: usize) -> MonitorOptions {
        MonitorOptions { check_every, hold_back, context, ..Default::default() }
    }

    /// What happened at a check: what it read, and how much was shown and checked after it.
    #[derive(Debug, PartialEq)]
    struct Step {
        read: Range<usize>,
        shown: usize,
        checked: usize,
    }

    /// Lets a text arrive in pieces, with every check passing, up to its end.
    fn steps(options: &MonitorOptions, pieces: &[&str]) -> (Vec<Step>, String) {
        let mut progress = Progress::new(options);
        let (mut steps, mut out) = (Vec::new(), String::new());
        for piece in pieces {
            progress.push(piece).unwrap();
            while let Some(read) = progress.due() {
                out.push_str(progress.pass(read.clone()));
                assert!(progress.text.starts_with(&out) && out.len() == progress.shown);
                assert_eq!(progress.text[..progress.checked].chars().count(), progress.checked_chars);
                steps.push(Step { read, shown: progress.shown, checked: progress.checked });
            }
        }
        out.push_str(progress.rest());
        (steps, out)
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
            4 => "[a-z]{1,9}[.,]? ",
            1 => "[a-z]{30,80}",
            1 => Just("\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}".to_owned()),
            1 => Just("\u{1F1E9}\u{1F1EA}".to_owned()),
            1 => Just("e\u{301}\u{323}".to_owned()),
            1 => "[\u{4e00}-\u{4e20}]{1,12}\n?",
            1 => "\\PC{0,6}",
        ];
        proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
    }

    fn options() -> impl Strategy<Value = MonitorOptions> {
        (1..80usize, 0..60usize, 0..60usize)
            .prop_map(|(check_every, hold_back, context)| sizes(check_every, hold_back, context))
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_the_pieces(
            text in text(),
            cuts in proptest::collection::vec(0..400usize, 0..40),
            options in options(),
        ) {
            let whole = steps(&options, &[&text]);
            prop_assert_eq!(&whole.1, &text);
            prop_assert_eq!(&whole, &steps(&options, &split(&text, &cuts)));
            let mut each = [0; 4];
            let chars: Vec<String> = text.chars().map(|c| c.encode_utf8(&mut each).to_owned()).collect();
            prop_assert_eq!(&whole, &steps(&options, &chars.iter().map(String::as_str).collect::<Vec<_>>()));
        }

        #[test]
        fn nothing_is_shown_that_was_not_checked_and_held_back_first(text in text(), options in options()) {
            let (mut shown, mut checked) = (0, 0);
            for step in steps(&options, &[&text]).0 {
                let new = text[checked..step.checked].chars().count();
                prop_assert!((options.check_every.div_ceil(2)..=options.check_every).contains(&new), "{new}");
                // Every check reads what the checks before have let pass and nobody has seen.
                prop_assert!(step.read.start <= shown && step.read.end == step.checked);
                prop_assert!(step.shown >= shown && step.shown <= step.checked);
                let held = text[step.shown..step.checked].chars().count();
                prop_assert!(step.shown == shown || held >= options.hold_back, "{held}");
                (shown, checked) = (step.shown, step.checked);
            }
            prop_assert!(text[checked..].chars().count() < options.check_every);
        }

        #[test]
        fn a_check_reads_its_context_before_what_is_new(text in text(), options in options()) {
            let mut checked = 0;
            for step in steps(&options, &[&text]).0 {
                let before = text[step.read.start..checked].chars().count();
                prop_assert!(step.read.start == 0 || before >= options.context, "{before}");
                checked = step.checked;
            }
        }

        #[test]
        fn a_check_reads_a_bounded_stretch(text in "([a-z]{1,9} ){0,300}", options in options()) {
            for step in steps(&options, &[&text]).0 {
                let bound = options.context + 2 * options.check_every + options.hold_back + 2 * WORD;
                prop_assert!(text[step.read].chars().count() <= bound);
            }
        }
    }

    #[test]
    fn words_are_shown_whole() {
        let text = "An assistant that is talkative answers interminably. ".repeat(20);
        for step in steps(&sizes(50, 7, 50), &[&text]).0 {
            assert!(text[..step.checked].ends_with(' '));
            assert!(text[..step.shown].ends_with(' '), "{:?}", &text[..step.shown]);
        }
    }

    #[test]
    fn what_a_reader_sees_as_one_character_does_not_fall_apart() {
        let family = "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}";
        let text = family.repeat(20);
        for hold_back in 1..12 {
            for step in steps(&sizes(3, hold_back, 9), &[&text]).0 {
                assert_eq!(step.shown % family.len(), 0);
            }
        }
    }

    #[test]
    fn a_response_without_an_end_is_refused() {
        let mut progress = Progress::new(&sizes(160, 24, 160));
        progress.push(&"é".repeat(MAX_RESPONSE)).unwrap();
        assert_eq!(progress.push("é").unwrap_err().code(), "bad_input");
        assert_eq!(progress.chars(), MAX_RESPONSE);
    }
}
