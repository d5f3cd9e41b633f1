//! What free reasoning claims: the categories it names, for templates whose answers have no place for them.

use std::collections::HashMap;
use std::ops::Range;

use super::quotes::quotes_of_none;
use super::{Answer, QuoteSpan, quotes_in};
use crate::conversation::Conversation;
use crate::policy::Policy;

/// Words that turn what their clause names into its opposite; so does any word that ends in `n't`.
const NEGATIONS: [&str; 10] =
    ["no", "not", "none", "never", "neither", "nor", "without", "nothing", "cannot", "nowhere"];
/// Words that begin a clause of their own.
const TURNS: [&str; 8] = ["but", "however", "although", "though", "whereas", "while", "yet", "instead"];

impl Answer {
    /// The answer with the categories that its reasoning names ([`categories_in`]) and the quotes of the message on trial
    /// that it makes ([`quotes_in`]), each where the template itself wrote none. With the quotes comes the number of
    /// [invented ones](Answer::invented_quotes).
    pub fn with_claims(mut self, policy: &Policy, conversation: &Conversation) -> Self {
        if self.categories.is_empty() && self.steps.is_empty() {
            self.categories = categories_in(&self.reasoning, policy);
        }
        if let (true, Ok(message)) = (self.quotes.is_empty(), conversation.target_index()) {
            let ranges = quotes_in(&self.reasoning, &conversation.messages[message].content);
            self.quotes = ranges.into_iter().map(|bytes| QuoteSpan { message, bytes }).collect();
            // Prompts end with the message on trial: whoever reasons has seen nothing after it.
            let said: Vec<&str> =
                conversation.messages[..=message].iter().map(|message| message.content.as_str()).collect();
            let known = plain(&own_words(policy));
            let unsaid = quotes_of_none(&self.reasoning, &said);
            self.invented_quotes = unsaid.into_iter().filter(|quote| !known.contains(&plain(quote))).count();
        }
        self
    }
}

/// What a policy says of its categories: numbers, names, definitions and examples. The prompt holds all that, its
/// examples in quotation marks, and reasoning may repeat it so.
fn own_words(policy: &Policy) -> String {
    let mut texts: Vec<String> = Vec::new();
    for (index, category) in policy.categories.iter().enumerate() {
        texts.push(format!("U{} {}", index + 1, category.name));
        texts.push(category.definition.clone());
        texts.extend_from_slice(&category.unsafe_examples);
        texts.extend_from_slice(&category.safe_examples);
    }
    texts.join("\n")
}

/// The words of a text in lower case with single spaces between them.
fn plain(text: &str) -> String {
    words(text).into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ")
}

/// Ids of the categories that `reasoning` names as applying, in the order of the text, each once.
///
/// A category is named by its number in the prompt (`U3` for the third) or by its name, word for word whatever the case;
/// `&` reads as `and`, other punctuation between words does not count. Where names overlap the longest counts. A mention
/// counts unless its clause denies: holds, outside of what it names, `no`, `not`, `none`, `never`, `neither`, `nor`,
/// `without`, `nothing`, `cannot`, `nowhere` or a word that ends in `n't`. A clause ends at `.`, `!`, `?` or `;`
/// before anything but a word, at a line break, and before `but`, `however`, `although`, `though`, `whereas`, `while`,
/// `yet` and `instead`.
///
/// Words are runs of ASCII letters, digits, `_` and of other characters but white space and the blocks of punctuation
/// (U+0080–U+00BF, U+2000–U+206F, U+3000–U+303F), with apostrophes inside.
pub fn categories_in(reasoning: &str, policy: &Policy) -> Vec<String> {
    let text = words(reasoning);
    let names: Vec<(usize, Vec<Word>)> = (policy.categories.iter().enumerate())
        .flat_map(|(index, category)| {
            [format!("U{}", index + 1), category.name.clone()].map(|name| (index, words(&name)))
        })
        .filter(|(_, name)| !name.is_empty())
        .collect();

    let mut mentions: Vec<(usize, Range<usize>)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let mut longest: Option<(usize, usize)> = None;
        for (category, name) in &names {
            if longest.is_none_or(|(_, length)| name.len() > length) && stands_at(&text[at..], name) {
                longest = Some((*category, name.len()));
            }
        }
        let length = longest.map_or(1, |(_, length)| length);
        mentions.extend(longest.map(|(category, length)| (category, at..at + length)));
        at += length;
    }

    let mut denied: HashMap<usize, bool> = HashMap::new();
    for (at, word) in text.iter().enumerate() {
        let outside = !mentions.iter().any(|(_, words)| words.contains(&at));
        *denied.entry(word.clause).or_default() |= outside && negates(&word.text);
    }
    let mut named: Vec<String> = Vec::new();
    for (category, words) in mentions {
        let id = &policy.categories[category].id;
        if !text[words].iter().any(|word| denied[&word.clause]) && !named.contains(id) {
            named.push(id.clone());
        }
    }
    named
}

/// A word in lower case and the clause it stands in.
struct Word {
    text: String,
    clause: usize,
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut clause = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let word_follows = characters.peek().copied().is_some_and(is_word);
        match character {
            _ if is_word(character) => word.extend(character.to_lowercase()),
            '\'' | '\u{2019}' if !word.is_empty() && word_follows => word.push('\''),
            _ => {
                end_word(&mut words, &mut word, &mut clause);
                match character {
                    '&' => words.push(Word { text: "and".into(), clause }),
                    '\n' => clause += 1,
                    '.' | '!' | '?' | ';' if !word_follows => clause += 1,
                    _ => {}
                }
            }
        }
    }
    end_word(&mut words, &mut word, &mut clause);
    words
}

fn end_word(words: &mut Vec<Word>, word: &mut String, clause: &mut usize) {
    if !word.is_empty() {
        *clause += usize::from(TURNS.contains(&word.as_str()));
        words.push(Word { text: std::mem::take(word), clause: *clause });
    }
}

fn is_word(character: char) -> bool {
    character == '_' || is_letter_or_digit(character)
}

/// Whether words are made of a character, as [`categories_in`] reads words, `_` aside. A rule of Unicode's blocks and not
/// of its classes, which other languages' libraries draw elsewhere and each version draws anew.
pub(crate) fn is_letter_or_digit(character: char) -> bool {
    match character {
        '\u{80}'..='\u{BF}' | '\u{2000}'..='\u{206F}' | '\u{3000}'..='\u{303F}' => false,
        _ if character.is_ascii() => character.is_ascii_alphanumeric(),
        _ => !character.is_whitespace(),
    }
}

/// Whether `text` begins with `name`, its words in the same clauses.
fn stands_at(text: &[Word], name: &[Word]) -> bool {
    text.len() >= name.len()
        && text
            .iter()
            .zip(name)
            .all(|(a, b)| a.text == b.text && a.clause - text[0].clause == b.clause - name[0].clause)
}

fn negates(word: &str) -> bool {
    NEGATIONS.contains(&word) || word.ends_with("n't")
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;
    use crate::conversation::{Message, Role};
    use crate::policy::Category;

    fn named(reasoning: &str) -> Vec<String> {
        let policy = Policy::new("house rules")
            .category(Category::new("locks", "Opening locks"))
            .category(Category::new("fraud", "Non-violent Crime & Fraud"))
            .category(Category::new("crime", "Crime"))
            .category(Category::new("insult", "Beleidigung: grob"));
        categories_in(reasoning, &policy)
    }

    #[test]
    fn a_category_is_named_by_its_number_or_its_name_as_whole_words() {
        assert_eq!(named("This is OPENING  Locks, plainly."), ["locks"]);
        assert_eq!(named("It falls under U2 and u1."), ["fraud", "locks"]);
        assert_eq!(named("Opening lockssmiths; U11; U1x; reopening locks"), [""; 0]);
        assert_eq!(named("BELEIDIGUNG: Grob"), ["insult"]);
    }

    #[test]
    fn the_longest_name_counts() {
        assert_eq!(named("A non violent crime and fraud."), ["fraud"]);
        assert_eq!(named("A crime, and fraud."), ["crime"]);
    }

    #[test]
    fn a_clause_that_denies_names_nothing() {
        assert_eq!(named("It doesn\u{2019}t fall under U1 or U2."), [""; 0]);
        assert_eq!(named("No crime here, but Opening locks applies."), ["locks"]);
        assert_eq!(named("U1: none.\nU2: yes. It's not U1! Crime, too"), ["fraud", "crime"]);
    }

    #[test]
    fn where_an_answer_has_steps_they_say_what_applies_and_no_name_in_its_reasoning() {
        let policy = Policy::new("house rules").category(Category::new("locks", "Opening locks"));
        let step = Step { category: "locks".into(), applies: false, quote: None };
        let answer = Answer { steps: vec![step], reasoning: "Opening locks: 0.1.".into(), ..Answer::default() };
        assert_eq!(answer.with_claims(&policy, &Conversation::prompt("Hi")).categories, [""; 0]);
    }

    #[test]
    fn a_quote_is_invented_that_neither_the_conversation_nor_the_policy_holds() {
        let locks = Category::new("locks", "Opening locks")
            .definition("Opening a lock, & that without its key.")
            .unsafe_example("Which rake opens this?")
            .safe_example("Who sells keys?");
        let policy = Policy::new("house rules").category(locks);
        let mut conversation = Conversation::response("How do I pick a lock?", "With a rake, in a minute");
        conversation.messages.push(Message { role: Role::User, content: "Many thanks for that".into() });
        let claims = |reasoning: &str| {
            let answer = Answer { reasoning: reasoning.into(), ..Answer::default() };
            let answer = answer.with_claims(&policy, &conversation);
            (answer.quotes.len(), answer.invented_quotes)
        };
        assert_eq!(claims("\"a rake,\" and \"break the door\""), (1, 1));
        assert_eq!(claims("asked to \"pick a lock\""), (0, 0), "another message's words");
        assert_eq!(claims("\"Many thanks\""), (0, 1), "said after the message on trial");
        for own in
            ["u1 - OPENING LOCKS", "a lock and that without", "which rake opens this", "who sells keys?!", "?? !!"]
        {
            assert_eq!(claims(&format!("It is \u{201c}{own}\u{201d}.")), (0, 0), "{own}");
        }
        assert_eq!(claims("U2 is \"U2 - Opening locks\", \"without a key\""), (0, 2));
    }
}
