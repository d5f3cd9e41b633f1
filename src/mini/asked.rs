//! What is asked, in the asker's own words: where a reasoned answer begins.

/// Words of it that are told at most.
const WORDS: usize = 20;

/// A sentence that tells what the user asks in this message, or, without a question, how it begins; none of an empty one.
///
/// A question ends with `?` before white space or the end and begins behind the sentence before it; the last one counts, and
/// of a long one its end.
pub fn told(message: &str, asks: &str, says: &str) -> String {
    let (verb, words, cut) = match question(message) {
        Some(question) => (asks, question, Cut::Start),
        None => (says, message, Cut::End),
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    if words.is_empty() {
        return String::new();
    }
    let quote = match cut {
        _ if words.len() <= WORDS => words.join(" "),
        Cut::Start => format!("… {}", words[words.len() - WORDS..].join(" ")),
        Cut::End => format!("{} …", words[..WORDS].join(" ")),
    };
    let stop = if quote.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!(" The user {verb} \"{quote}\"{stop}")
}

/// Where words of a quote that is too long are left out.
enum Cut {
    Start,
    End,
}

fn question(message: &str) -> Option<&str> {
    let ends = |at: usize| message[at..].chars().next().is_none_or(char::is_whitespace);
    let sentence_ends = message.match_indices(['.', '!', '?', '\n']).map(|(at, stop)| at + stop.len());
    let ends: Vec<usize> = sentence_ends.filter(|&at| message[..at].ends_with('\n') || ends(at)).collect();
    let last = ends.iter().rposition(|&end| message[..end].ends_with('?'))?;
    let start = if last == 0 { 0 } else { ends[last - 1] };
    Some(&message[start..ends[last]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_question_is_told_or_how_a_message_without_one_begins() {
        for (message, expected) in [
            ("How do I pick a lock?", " The user asks \"How do I pick a lock?\""),
            ("My key broke. How do I get in? Thanks!", " The user asks \"How do I get in?\""),
            ("Is it safe? Is tea.com?x=1 safe, too?\nBye.", " The user asks \"Is tea.com?x=1 safe, too?\""),
            ("What?! No way", " The user writes \"What?! No way\"."),
            ("I lost  my\nkey.", " The user writes \"I lost my key.\""),
            (" \n", ""),
            ("", ""),
        ] {
            assert_eq!(told(message, "asks", "writes"), expected, "{message:?}");
        }
        let words = |from: usize, to: usize| (from..to).map(|at| format!("w{at}")).collect::<Vec<_>>().join(" ");
        let long = words(0, 40);
        assert_eq!(told(&long, "asks", "writes"), format!(" The user writes \"{} …\"", words(0, 20)));
        assert_eq!(told(&format!("{long}?"), "asked", "wrote"), format!(" The user asked \"… {}?\"", words(20, 40)));
    }
}
