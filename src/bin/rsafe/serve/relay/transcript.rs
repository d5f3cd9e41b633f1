//! A conversation as a guard must read it where the caller wrote all of it, the answers too: run by run, each in the light
//! of what stands before it.

use rsafe::Role;

use crate::serve::walk::{EDGE, ends, is_long, last};

/// One message: who is said to speak, and all that is said in it, extra fields as well.
pub struct Spoken {
    pub role: Role,
    pub pieces: Vec<String>,
}

/// What is judged at once.
#[derive(Debug, PartialEq)]
pub enum Run {
    /// What callers say, and the end of what was said before it and is read along.
    Asked { before: Vec<String>, pieces: Vec<String> },
    /// What a tool gave.
    Given { pieces: Vec<String> },
    /// An answer, by the index of its message.
    Answered { at: usize, pieces: Vec<String> },
}

/// The runs of a conversation, in its order: the messages between two answers as one, each answer and what each tool gave
/// for itself. A long piece is a run of its own, and its run has its ends. An answer at the end is a beginning that the
/// model shall go on with: it is judged as an answer, and as what the caller asks for. So is a short one, in what follows
/// it: a wish may stand in an answer's place. What is judged of a run depends on nothing behind it.
pub fn runs_of(messages: &[Spoken]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut heard: Vec<String> = Vec::new();
    let mut open: Option<usize> = None;
    let last_asked = messages.iter().rposition(|message| message.role != Role::Assistant);
    for (at, Spoken { role, pieces }) in messages.iter().enumerate().filter(|(_, message)| !message.pieces.is_empty()) {
        if *role == Role::Assistant {
            runs.push(Run::Answered { at, pieces: pieces.clone() });
            if last_asked.is_some_and(|last| at < last) {
                if let Some(Run::Asked { before, pieces }) = open.take().map(|run: usize| &runs[run]) {
                    heard = last_of(before.iter().chain(pieces));
                }
                if pieces.iter().map(|piece| piece.chars().count()).sum::<usize>() <= EDGE {
                    heard = last_of(heard.iter().chain(pieces));
                }
                continue;
            }
        }
        if *role == Role::Tool {
            runs.push(Run::Given { pieces: pieces.clone() });
        } else {
            let long = pieces.iter().filter(|piece| is_long(piece));
            runs.extend(long.map(|piece| Run::Asked { before: Vec::new(), pieces: vec![piece.clone()] }));
        }
        let run = *open.get_or_insert_with(|| {
            runs.push(Run::Asked { before: heard.clone(), pieces: Vec::new() });
            runs.len() - 1
        });
        if let Run::Asked { pieces: said, .. } = &mut runs[run] {
            said.extend(pieces.iter().map(|piece| ends(piece)));
        }
    }
    runs
}

/// As many of the last pieces as are read along, the first of them cut.
fn last_of<'p>(pieces: impl DoubleEndedIterator<Item = &'p String>) -> Vec<String> {
    let (mut kept, mut room) = (Vec::new(), EDGE);
    for piece in pieces.rev() {
        if room == 0 {
            break;
        }
        let piece = last(piece, room);
        room -= piece.chars().count();
        kept.push(piece.to_owned());
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(turns: &[(Role, &str)]) -> Vec<Run> {
        let spoken: Vec<Spoken> =
            turns.iter().map(|(role, text)| Spoken { role: *role, pieces: vec![(*text).to_owned()] }).collect();
        runs_of(&spoken)
    }

    fn asked(before: &[&str], pieces: &[&str]) -> Run {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Run::Asked { before: owned(before), pieces: owned(pieces) }
    }

    fn answered(at: usize, text: &str) -> Run {
        Run::Answered { at, pieces: vec![text.to_owned()] }
    }

    #[test]
    fn messages_between_answers_are_read_together_with_the_end_of_what_was_before() {
        use Role::{Assistant, System, Tool, User};
        let runs = said(&[(System, "be kind"), (User, "one"), (Assistant, "two"), (Tool, "three"), (User, "four")]);
        let expected = [
            asked(&[], &["be kind", "one"]),
            answered(2, "two"),
            Run::Given { pieces: vec!["three".to_owned()] },
            asked(&["be kind", "one", "two"], &["three", "four"]),
        ];
        assert_eq!(runs, expected);
    }

    #[test]
    fn an_answer_at_the_end_is_a_wish_as_well() {
        let runs = said(&[(Role::User, "one"), (Role::Assistant, "Sure, first")]);
        assert_eq!(runs, [asked(&[], &["one", "Sure, first"]), answered(1, "Sure, first")]);
    }

    #[test]
    fn a_long_piece_is_judged_for_itself_and_its_neighbours_see_its_ends() {
        let long = "word ".repeat(200);
        let runs = said(&[(Role::User, &long), (Role::User, "go on")]);
        assert_eq!(runs, [asked(&[], &[&long]), asked(&[], &[&ends(&long), "go on"])]);
    }
}
