//! Reading a `tokenizer.json` that nobody vouches for, and taking the added tokens out of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::Tokenizer;
use super::bytes::{ByteTable, byte_of, undo_byte_level, undo_wordpiece};
use super::token::{Spelling, TokenId};
use crate::error::{Error, Result};
use crate::mistaken::no_json;

/// The largest published tokenizer is about 35 MB.
const MAX_FILE: usize = 128 << 20;
/// Tables are as long as the largest id, so a hostile id must not choose their size.
const MAX_ID: TokenId = 1 << 22;

/// What rsafe reads of the file; everything else in it (truncation, padding, post-processor, decoder) is left out.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
}

/// `dropout` is left out on purpose: a guard reads the same text the same way each time.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, TokenId>,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
}

/// Old files write a merge as one string, new ones as a pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Truncation, padding and the post-processor are left out: templates alone
    /// decide which control tokens a prompt has.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the file is no tokenizer, or one of a kind that rsafe does not read.
    pub fn from_bytes(json: &[u8]) -> Result<Self> {
        read(json)
    }
}

fn read(json: &[u8]) -> Result<Tokenizer> {
    if json.len() > MAX_FILE {
        return bad(format!("the file has {} bytes, rsafe reads up to {MAX_FILE}", json.len()));
    }
    let file: File = serde_json::from_slice(json).or_else(|e| {
        let what = no_json(json, &e);
        bad(format!("{what}; expected a Hugging Face tokenizer file with a byte-level BPE or a WordPiece model"))
    })?;
    check_steps("normalizer", &file.normalizer, "normalizers", NORMALIZERS)?;
    let byte_level = check_steps("pre_tokenizer", &file.pre_tokenizer, "pretokenizers", PRE_TOKENIZERS)?;
    let vocabulary = Vocabulary::new(&file)?;

    let kind = file.model.kind.clone().unwrap_or_else(|| {
        // Files from before the field existed: only BPE has merges.
        if file.model.merges.is_empty() { "WordPiece".into() } else { "BPE".into() }
    });
    let (model, spelling, bytes, unspelled) = match kind.as_str() {
        "BPE" if byte_level => byte_level_bpe(file.model, &vocabulary)?,
        "BPE" => {
            return bad("the BPE model has no `ByteLevel` pre-tokenizer; rsafe reads byte-level BPE only".into());
        }
        "WordPiece" => word_piece(file.model, &vocabulary)?,
        other => return bad(format!("model.type is `{other}`, expected `BPE` or `WordPiece`")),
    };

    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_normalizer(step::<NormalizerWrapper>("normalizer", file.normalizer)?);
    inner.with_pre_tokenizer(step::<PreTokenizerWrapper>("pre_tokenizer", file.pre_tokenizer)?);
    let unknown = match spelling {
        Spelling::Words { unknown } => Some(unknown),
        Spelling::Bytes => None,
    };
    let mut control_ids: Vec<TokenId> =
        vocabulary.added_ids.iter().copied().filter(|id| Some(*id) != unknown).collect();
    control_ids.sort_unstable();
    Ok(Tokenizer { inner, spelling, controls: vocabulary.added, control_ids, bytes: Arc::new(bytes), unspelled })
}

/// The file's tokens, sorted into those that text may spell and those that it may not.
struct Vocabulary {
    added: HashMap<String, TokenId>,
    added_ids: HashSet<TokenId>,
    size: usize,
}

impl Vocabulary {
    fn new(file: &File) -> Result<Self> {
        let all = file.model.vocab.values().copied().chain(file.added_tokens.iter().map(|token| token.id));
        let Some(largest) = all.max() else {
            return bad("the vocabulary is empty".into());
        };
        if largest > MAX_ID {
            return bad(format!("the largest token id is {largest}, rsafe reads ids up to {MAX_ID}"));
        }
        let mut added = HashMap::new();
        for token in &file.added_tokens {
            if token.content.is_empty() {
                return bad(format!("added token {} has an empty name", token.id));
            }
            added.insert(token.content.clone(), token.id);
        }
        // A name may also stand in the model's vocabulary under another id: text must reach neither.
        let shadowed = added.keys().filter_map(|name| file.model.vocab.get(name)).copied();
        let added_ids = added.values().copied().chain(shadowed).collect();
        Ok(Self { added, added_ids, size: largest as usize + 1 })
    }

    fn is_added(&self, id: TokenId) -> bool {
        self.added_ids.contains(&id)
    }

    fn byte_table(&self, vocab: &HashMap<String, TokenId>, spell: impl Fn(&str) -> Vec<u8>) -> ByteTable {
        let plain: BTreeMap<TokenId, &str> =
            vocab.iter().filter(|(_, id)| !self.is_added(**id)).map(|(token, id)| (*id, token.as_str())).collect();
        ByteTable::new((0..self.size as TokenId).map(|id| plain.get(&id).map(|token| spell(token))))
    }
}

type Parts = (ModelWrapper, Spelling, ByteTable, Vec<u8>);

fn byte_level_bpe(model: Model, vocabulary: &Vocabulary) -> Result<Parts> {
    let affix = |affix: &Option<String>| affix.as_deref().is_some_and(|a| !a.is_empty());
    if affix(&model.continuing_subword_prefix) || affix(&model.end_of_word_suffix) || model.byte_fallback {
        return bad(
            "the BPE model has a subword prefix, a word suffix or a byte fallback, which byte-level BPE does not"
                .into(),
        );
    }
    let bytes = vocabulary.byte_table(&model.vocab, undo_byte_level);
    let (taken, vocab): (Vec<_>, Vec<_>) = model.vocab.into_iter().partition(|(_, id)| vocabulary.is_added(*id));
    let taken: HashSet<String> = taken.into_iter().map(|(token, _)| token).collect();
    let vocab: Vocab = vocab.into_iter().collect();
    let spelled: HashSet<u8> = vocab
        .keys()
        .filter_map(|token| {
            let mut chars = token.chars();
            chars.next().filter(|_| chars.next().is_none()).and_then(byte_of)
        })
        .collect();
    let unspelled = (0..=255).filter(|byte| !spelled.contains(byte)).collect();

    let mut merges: Merges = Vec::with_capacity(model.merges.len());
    for (rank, merge) in model.merges.into_iter().enumerate() {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left, right),
            Merge::Line(line) => match line.split_once(' ') {
                Some((left, right)) => (left.into(), right.into()),
                None => {
                    return bad(format!("model.merges[{rank}] is `{line}`, expected two tokens with a space between"));
                }
            },
        };
        let whole = format!("{left}{right}");
        let parts = [&left, &right, &whole];
        if parts.iter().any(|part| taken.contains(*part)) {
            continue;
        }
        if let Some(missing) = parts.into_iter().find(|part| !vocab.contains_key(*part)) {
            return bad(format!("model.merges[{rank}] needs the token `{missing}`, which model.vocab lacks"));
        }
        merges.push((left, right));
    }
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(model.ignore_merges)
        .build()
        .or_else(|e| bad(format!("model: {e}")))?;
    Ok((bpe.into(), Spelling::Bytes, bytes, unspelled))
}

fn word_piece(model: Model, vocabulary: &Vocabulary) -> Result<Parts> {
    let name = model.unk_token.unwrap_or_else(|| "[UNK]".into());
    let Some(&unknown) = model.vocab.get(&name) else {
        return bad(format!("model.unk_token is `{name}`, which model.vocab lacks"));
    };
    let prefix = model.continuing_subword_prefix.unwrap_or_else(|| "##".into());
    let bytes = vocabulary
        .byte_table(&model.vocab, |token| if token == name { Vec::new() } else { undo_wordpiece(token, &prefix) });
    let vocab: Vocab =
        model.vocab.into_iter().filter(|(token, id)| *token == name || !vocabulary.is_added(*id)).collect();
    let piece = WordPiece::builder()
        .vocab(vocab)
        .unk_token(name)
        .continuing_subword_prefix(prefix)
        // Matching the longest piece takes time quadratic in a word's length: a hostile file must not raise it.
        .max_input_chars_per_word(model.max_input_chars_per_word.unwrap_or(100).clamp(1, 200))
        .build()
        .or_else(|e| bad(format!("model: {e}")))?;
    Ok((piece.into(), Spelling::Words { unknown }, bytes, Vec::new()))
}

/// Steps that keep a text readable and its byte offsets true.
const NORMALIZERS: &[&str] = &["NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase", "StripAccents"];
const PRE_TOKENIZERS: &[&str] =
    &["ByteLevel", "Split", "Digits", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation"];

/// Checks a step, or a sequence of steps, against the kinds that rsafe knows; gives whether one is `ByteLevel`.
fn check_steps(field: &str, step: &Value, inner: &str, known: &[&str]) -> Result<bool> {
    if step.is_null() {
        return Ok(false);
    }
    let kind = step["type"].as_str().unwrap_or("(none)");
    if kind == "Sequence" {
        let Some(steps) = step[inner].as_array() else {
            return bad(format!("{field} is a sequence without `{inner}`"));
        };
        return steps.iter().try_fold(false, |found, step| Ok(found | check_steps(field, step, inner, known)?));
    }
    if !known.contains(&kind) {
        return bad(format!("{field} `{kind}` is not one that rsafe knows: {}", known.join(", ")));
    }
    if step["behavior"] == "Removed" {
        return bad(format!("{field} `{kind}` removes text, so that the guard would not see it"));
    }
    Ok(kind == "ByteLevel")
}

fn step<T: serde::de::DeserializeOwned>(field: &str, step: Value) -> Result<Option<T>> {
    if step.is_null() {
        return Ok(None);
    }
    // Through text: the crate's own readers want borrowed strings, which a `Value` cannot lend.
    serde_json::from_str(&step.to_string()).map(Some).or_else(|e| bad(format!("{field}: {e}")))
}

fn bad<T>(what: String) -> Result<T> {
    Err(Error::BadModel(format!("tokenizer.json: {what}")))
}
