//! How much of a text nobody can read: ciphers, codes that were not decoded, tokens at random.

use super::lexicon::{Lexicon, knows};
use super::morse;
use super::traced::{Traced, runs};

/// Half nats by which a letter speaks for what follows it: row and column 0 stand for the edge of a word, the others for
/// `a` to `z`; `A` is 0. The negative logarithm of how often one follows the other in prose of English, French, German,
/// Italian, Portuguese and Spanish: the English Web Treebank and questions of many kinds, 1.4 million letters.
const PAIRS: [&[u8; 27]; 27] = [
    b"XEHGGGHIGFJKHGIGGJHFEHJGRJN",
    b"EPIGGNJINGOJFHDLIMFFEIHKNIM",
    b"HFINOCSQNFLREOPFNQGIJFMQSGQ",
    b"GERHPESPEFTGHQPDPPGLFHRUULS",
    b"CGPPKDPLPFPQKMKFQQHIQIMMUKS",
    b"CHLHGIKJNJPNHHFLJNEFHJIKJJM",
    b"DFSRRFGORESSIROERSFLHGSMRMS",
    b"DGPPODQJFFSRINIFSSFILGSSSKS",
    b"FDOROCQTQEUSLMKFRRIMHJROSKS",
    b"FHKFHGIHPPSKGHDGHKGEFOHSMRK",
    b"FEOOOCOOOJNOONOELOMLODOOOOO",
    b"CHOPOCLMLEPQJNFHPQHGILONQKM",
    b"EFMMHDKMPEULEKLFKLMHIHLMUGT",
    b"EEHMRCNQRFTSOGMFGTMJNHRRTGT",
    b"DGPGEFKFNGNJKOIGOONGEJLORJM",
    b"ELJIILGIMIOJHFEHIMEHGEIHOLO",
    b"FEROODMPHGSQFLPEGTEJGGPRTKT",
    b"JMPPPOOPPMPPMPPPPPPOPAPOPPP",
    b"DFMJIDLJNFVJKIIFLNIGHIKMTIO",
    b"CHOHNENQHGRKKJMGIMPGEHRMUKS",
    b"DGQLREQSDFUTKMOFOVGIIIRLUJO",
    b"FHJHIFJHOGNOGHELHSEEETJSILO",
    b"KFOOOBRRRERRRRPFQRHOPKNRRNR",
    b"EDORNDOREESOLQHFPSJJNOSLSNS",
    b"CGMFOGLOKFOOONOLDMOOEHNNNLO",
    b"BKLLNGPNPJRPKJLEJSLGJPSLQQQ",
    b"EDNMMENOOEOOJNNHOONLNEKKNKF",
];
/// Nats that a pair of letters costs where all are as likely.
const NOISE: f32 = 3.3;
/// Nats a letter by which languages beyond those of the table may fit it worse than noise does.
const STRANGE: f32 = 0.5;
/// Nats that an unreadable stretch must have for each of its two ends.
const EDGE: f32 = 4.0;

/// The share of a text's characters, white space left out, that stand in unreadable stretches, in [0, 1].
///
/// Each word says how much it speaks for noise; the stretches are those of the likeliest path between two states
/// (Viterbi), readable and not, where going over costs [`EDGE`].
pub fn share(text: &[Traced], lexicon: &dyn Lexicon) -> f32 {
    let words = runs(text, |c| !c.is_whitespace());
    let all: usize = words.iter().map(|word| word.len()).sum();
    // The best sum of the paths that end readable and unreadable, and the unreadable characters on each.
    let (mut readable, mut noise) = ((0.0_f32, 0), (f32::NEG_INFINITY, 0));
    for word in words {
        let gain = noise_of(&text[word.clone()], lexicon);
        let better = |stay: (f32, usize), come: (f32, usize)| {
            let come = (come.0 - EDGE, come.1);
            if come.0 > stay.0 { come } else { stay }
        };
        let next = better(noise, readable);
        (readable, noise) = (better(readable, noise), (next.0 + gain, next.1 + word.len()));
    }
    let unreadable = if noise.0 - EDGE > readable.0 { noise.1 } else { readable.1 };
    unreadable as f32 / all.max(1) as f32
}

/// How much a word, in the widest sense, speaks for noise and against language, in nats.
fn noise_of(word: &[Traced], lexicon: &dyn Lexicon) -> f32 {
    let count = |test: &dyn Fn(char) -> bool| word.iter().filter(|one| test(one.character)).count();
    let length = word.len();
    let letters = count(&|c| c.is_ascii_alphabetic());
    let digits = count(&|c| c.is_ascii_digit());
    let foreign = count(&|c| !c.is_ascii() && c.is_alphabetic());
    let tones = count(&|c| morse::tone(c).is_some());
    // A line across the page.
    let is_rule = length > 6 && word.iter().all(|one| one.character == word[0].character);
    if is_rule || 2 * foreign > length {
        return -2.0;
    }
    // Morse and binary, of which a sign says little and many say much.
    if tones == length && count(&|c| morse::tone(c) == Some('.')) < length && length < 8 {
        return 0.8 * length as f32;
    }
    if digits == length && length >= 5 && count(&|c| matches!(c, '0' | '1')) == length {
        return 0.8 * length as f32;
    }
    let core: Vec<Traced> = word.iter().copied().filter(|one| one.character.is_ascii_alphabetic()).collect();
    if letters == length || (letters + 3 >= length && digits == 0 && letters > 0) {
        let known = core.len() > 2 && knows(lexicon, &core);
        return if known { -3.0 } else { letters_noise(&core).clamp(-6.0, 12.0) };
    }
    // Letters and digits that change places again and again: keys, hashes, codes of any base.
    let kind = |c: char| match c {
        _ if c.is_ascii_uppercase() => 0,
        _ if c.is_ascii_lowercase() => 1,
        _ if c.is_ascii_digit() => 2,
        _ => 3,
    };
    let changes = word.windows(2).filter(|two| kind(two[0].character) != kind(two[1].character)).count();
    let spells = runs(word, |c| c.is_ascii_alphabetic()).into_iter().any(|r| r.len() > 3 && knows(lexicon, &word[r]));
    match letters > 0 && digits > 0 && length >= 8 && !spells {
        true => 0.7 * changes as f32 - 1.0,
        // Numbers, signs, names of files.
        false => -0.5,
    }
}

/// How much letters speak for noise.
fn letters_noise(word: &[Traced]) -> f32 {
    let place = |one: &Traced| usize::from(one.character.to_ascii_lowercase() as u8 - b'a') + 1;
    let places: Vec<usize> = std::iter::once(0).chain(word.iter().map(place)).chain([0]).collect();
    let cost: f32 = places.windows(2).map(|two| f32::from(PAIRS[two[0]][two[1]] - b'A') / 2.0).sum();
    cost - NOISE * (word.len() + 1) as f32 - STRANGE * word.len() as f32
}
