//! A Hugging Face folder as it is: config, tokenizer and safetensors, in one file or in shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::manifest::plain_name;
use super::shard::{Input, Shard, is_buffer};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::files;
use crate::mistaken::no_json;
use crate::prompt::Template;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Beyond this, a JSON file of a checkpoint is not what its name says.
const MAX_JSON: u64 = 256 << 20;
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const WRAPPER: &str = "module.";

/// A checkpoint's small files, read; its weights are read when asked for.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: PathBuf,
    /// `config.json`.
    pub config: Value,
    /// The bytes of `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `generation_config.json`, where there is one.
    pub generation: Option<Value>,
    /// The chat template, from `chat_template.jinja` or `tokenizer_config.json`.
    pub chat_template: Option<String>,
    shards: Vec<String>,
    /// Which file has which tensor, where there is an index.
    index: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads all but the weights.
    ///
    /// # Errors
    /// [`Error::Io`] for a missing file, [`Error::BadModel`] for one that is not what its name says.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let config = json(&folder.join("config.json"))?;
        if !config.is_object() {
            return Err(Error::BadModel("config.json: expected an object".into()));
        }
        let tokenizer = read_small(&folder.join("tokenizer.json"))?;
        let optional = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let generation = optional("generation_config.json").map(|path| json(&path)).transpose()?;
        let mut chat_template = None;
        if let Some(path) = optional("tokenizer_config.json") {
            chat_template = json(&path)?.get("chat_template").and_then(Value::as_str).map(str::to_owned);
        }
        if let Some(path) = optional("chat_template.jinja") {
            chat_template = Some(String::from_utf8_lossy(&read_small(&path)?).into_owned());
        }
        let (shards, index) = match (optional(SINGLE), optional(INDEX)) {
            (_, Some(path)) => read_index(&path)?,
            (Some(_), None) => (vec![SINGLE.to_owned()], BTreeMap::new()),
            (None, None) => {
                let what =
                    format!("{}: expected `{SINGLE}` or `{INDEX}`; other formats are not read", folder.display());
                return Err(Error::BadModel(what));
            }
        };
        Ok(Self { folder: folder.to_owned(), config, tokenizer, generation, chat_template, shards, index })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first of the config's `architectures`, e.g. `Qwen2ForCausalLM`.
    pub fn architecture(&self) -> Result<&str> {
        self.config["architectures"][0]
            .as_str()
            .ok_or_else(|| Error::BadModel("config.json: expected `architectures` with a name in it".into()))
    }

    /// The template by what the checkpoint, also called `name`, says of itself: the guards' own chat templates are
    /// unmistakable, and a plain Qwen is taken for one that was trained with RSafe's prompt.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a family of which no guard is known.
    pub fn guess_template(&self, name: &str) -> Result<Template> {
        let kind = self.config["model_type"].as_str().unwrap_or_default();
        let chat = self.chat_template.as_deref().unwrap_or_default();
        let names = format!("{name} {}", self.config["_name_or_path"].as_str().unwrap_or_default()).to_lowercase();
        let guarded = chat.contains("UNSAFE CONTENT CATEGORIES");
        match kind {
            "qwen3" if names.contains("qwen3guard") || (guarded && chat.contains("Controversial")) => {
                Ok(Template::Qwen3guard)
            }
            "qwen2" | "qwen3" => Ok(Template::Rsafe),
            "llama" => Ok(Template::LlamaGuard3),
            other => Err(Error::Unsupported(format!(
                "no template is known for the model type `{other}`; name one: rsafe, llama-guard3 or qwen3guard"
            ))),
        }
    }

    /// What the chat template, in ChatML, says as the system where a chat brings no such message: Qwen2.5's that it is
    /// Qwen, SmolLM2's that it is SmolLM, Qwen3's nothing.
    pub fn system_message(&self) -> Option<String> {
        let written = self.chat_template.as_deref()?;
        // In a Jinja string a line break may be two characters.
        let openings = ["<|im_start|>system\n", "<|im_start|>system\\n"].into_iter();
        let behind = openings.flat_map(|opening| written.split(opening).skip(1));
        let mut literal = behind.filter_map(|rest| Some(rest.split_once("<|im_end|>")?.0));
        // With a quote or a brace in it, it is put together of what the chat brings.
        literal.find(|text| !text.is_empty() && !text.contains(['\'', '"', '{', '\\'])).map(str::to_owned)
    }

    /// Reads all weights, shard by shard. A head that the config ties to the embedding is left out.
    ///
    /// # Errors
    /// [`Error::BadModel`] if a file is no safetensors file, a tensor comes twice, or the index names one that is not
    /// where it says.
    pub fn weights(&self, device: &Device) -> Result<Weights> {
        let mut weights = Weights::new(device);
        let (shards, naming) = self.shards()?;
        for mut shard in shards {
            weights.read(&mut shard, |name| self.skips(name))?;
        }
        if let Some((missing, file)) = self.promised(naming).find(|(name, _)| !weights.has(name)) {
            return Err(not_in_index(&missing, file));
        }
        weights.join_parts()?;
        Ok(weights)
    }

    /// What of it is left unread and yet says something, in sentences for its owner: a head that the config ties to the
    /// embedding, and that is another one.
    ///
    /// # Errors
    /// [`Error::BadModel`] if a weight file is no safetensors file, or the two have a weight that is no number.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let (shards, _) = self.shards()?;
        let has = |wanted: &str| shards.iter().flat_map(Shard::names).any(|name| name == wanted);
        if !(self.skips(HEAD) && has(HEAD) && has(EMBEDDING)) {
            return Ok(Vec::new());
        }
        let mut seen = Vec::new();
        for mut shard in shards {
            while let Some(tensor) = shard.next()? {
                if [HEAD, EMBEDDING].contains(&tensor.name.as_str()) {
                    let mut hash = Sha256::new();
                    shard.rows(&tensor, |row| {
                        row.iter().for_each(|weight| hash.update(weight.to_le_bytes()));
                        Ok(())
                    })?;
                    seen.push((tensor.shape, hash.finalize()));
                } else {
                    shard.take(tensor.bytes)?;
                }
            }
        }
        let same = seen.iter().all(|tensor| *tensor == seen[0]);
        let told = format!(
            "the checkpoint has a `{HEAD}` that differs from `{EMBEDDING}`, and its config says `tie_word_embeddings`: the \
             embedding is taken for both; if the model was trained with a head of its own, set it to false"
        );
        Ok(if same { Vec::new() } else { vec![told] })
    }

    /// Opens the weight files, with the names that Hugging Face gives their tensors.
    pub(super) fn shards(&self) -> Result<(Vec<Shard>, Naming)> {
        let open = self.shards.iter().map(|name| {
            let path = self.folder.join(name);
            let file = files::open(&path, files::Kind::Regular)?;
            let size = file.metadata().map_err(Error::io(&path))?.len();
            let size = usize::try_from(size);
            let size = size.map_err(|_| Error::Unsupported(format!("`{name}` is too large for this machine")))?;
            Shard::open(name, Input::Stream { reader: Box::new(BufReader::new(file)), hash: None }, size)
        });
        let mut shards = open.collect::<Result<Vec<_>>>()?;
        let naming = Naming::of(&shards.iter().flat_map(Shard::names).collect::<Vec<_>>());
        shards.iter_mut().for_each(|shard| shard.rename(|name| naming.usual(name)));
        Ok((shards, naming))
    }

    /// The names of tensors that the index promises.
    pub(super) fn promised(&self, naming: Naming) -> impl Iterator<Item = (String, &str)> {
        let named = self.index.iter().map(move |(name, file)| (naming.usual(name), file.as_str()));
        named.filter(|(name, _)| !self.skips(name))
    }

    /// Whether a tensor is a copy of another one.
    pub(super) fn skips(&self, name: &str) -> bool {
        name == HEAD && self.config["tie_word_embeddings"] == true
    }
}

/// How a checkpoint's names of tensors differ from those that Hugging Face gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming {
    /// All begin with `module.`, as those of a model that was trained on several devices do.
    wrapped: bool,
    /// They are those of a decoder without its head, which has them behind `model.`.
    bare: bool,
}

impl Naming {
    fn of(names: &[&str]) -> Self {
        let wrapped = !names.is_empty() && names.iter().all(|name| name.starts_with(WRAPPER));
        let has = |wanted: &str| names.iter().any(|name| unwrapped(name, wrapped) == wanted);
        Self { wrapped, bare: has("embed_tokens.weight") && !has("model.embed_tokens.weight") }
    }

    /// The usual name of a tensor.
    fn usual(self, name: &str) -> String {
        let name = unwrapped(name, self.wrapped);
        if self.bare && name != HEAD && !name.starts_with("model.") { format!("model.{name}") } else { name.to_owned() }
    }
}

fn unwrapped(name: &str, wrapped: bool) -> &str {
    if wrapped { name.strip_prefix(WRAPPER).unwrap_or(name) } else { name }
}

pub(super) fn not_in_index(name: &str, file: &str) -> Error {
    Error::BadModel(format!("`{INDEX}` says that tensor `{name}` is in `{file}`, but it is not"))
}

/// The files that an index names, each once, and which tensor is where.
fn read_index(path: &Path) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = parsed(path, &read_small(path)?)?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    files.iter().try_for_each(|name| plain_name(name))?;
    if files.is_empty() {
        return Err(Error::BadModel(format!("{}: `weight_map` is empty", path.display())));
    }
    let files = files.into_iter().cloned().collect();
    // Buffers, which loading passes over, are no promise.
    Ok((files, index.weight_map.into_iter().filter(|(name, _)| !is_buffer(name)).collect()))
}

fn json(path: &Path) -> Result<Value> {
    parsed(path, &read_small(path)?)
}

fn parsed<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::BadModel(format!("{}: {}", path.display(), no_json(bytes, &error))))
}

/// Reads a file that must not be enormous, without the byte-order mark that some editors put before its text.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = files::read(path, files::Kind::Regular, MAX_JSON, Error::BadModel)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}
