//! A tuned decoder as files: a Hugging Face checkpoint with the adapters merged, and the adapters as PEFT writes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::View;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::files;
use crate::kernels::Encoding;
use crate::model::Decoder;
use crate::model::decoder::training::{LoraOptions, Stored};

/// What a checkpoint has beside config and weights, as far as it is there.
const COMPANIONS: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

/// Where the adapters lie inside a checkpoint's folder.
const ADAPTER: &str = "adapter";

/// Writes a decoder as a checkpoint that transformers and `rsafe convert` read: the files of `init` with new weights.
/// Matrices that an adapter changed are f32, others as they were. The adapters themselves go to [`ADAPTER`].
///
/// # Errors
/// [`Error::BadInput`] if `out` is `init`, [`Error::Io`], and what `init`'s config has wrong.
pub fn export(decoder: &Decoder, lora: Option<&LoraOptions>, init: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(Error::io(out))?;
    if let (Ok(from), Ok(to)) = (init.canonicalize(), out.canonicalize())
        && from == to
    {
        return Err(Error::BadInput("a tuned model cannot be written over the one it was tuned from".into()));
    }
    let path = init.join("config.json");
    let config = files::read(&path, files::Kind::Regular, u64::MAX, Error::BadModel)?;
    let mut config: Value =
        serde_json::from_slice(&config).map_err(|e| Error::BadModel(format!("{}: {e}", path.display())))?;
    for name in COMPANIONS.iter().filter(|name| init.join(name).is_file()) {
        fs::copy(init.join(name), out.join(name)).map_err(Error::io(out.join(name)))?;
    }
    if let Some(lora) = lora {
        write_adapters(decoder, lora, &config, &out.join(ADAPTER))?;
    }
    // Both spellings, as transformers changed from one to the other.
    for name in ["dtype", "torch_dtype"] {
        if config.get(name).is_some() {
            config[name] = "float32".into();
        }
    }
    write_json(&out.join("config.json"), &config)?;
    // The weights come last: where they are, the rest is.
    write_tensors(&out.join("model.safetensors"), decoder.tensors())
}

/// Adapters in PEFT's form.
fn write_adapters(decoder: &Decoder, lora: &LoraOptions, config: &Value, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config["_name_or_path"],
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": lora.targets,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
    });
    write_json(&folder.join("adapter_config.json"), &config)?;
    write_tensors(&folder.join("adapter_model.safetensors"), decoder.adapter_tensors())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::BadModel(e.to_string()))?;
    fs::write(path, text).map_err(Error::io(path))
}

/// Writes tensors one behind the other, each read when its turn comes.
fn write_tensors<'m>(path: &Path, tensors: impl IntoIterator<Item = (String, Stored<'m>)>) -> Result<()> {
    let views = tensors.into_iter().map(|(name, stored)| (name, Lazy { shape: stored.shape(), stored }));
    // transformers reads no file that does not say so.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path)
        .map_err(|e| Error::BadModel(format!("{}: {e}", path.display())))
}

struct Lazy<'m> {
    stored: Stored<'m>,
    shape: Vec<usize>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        match self.stored.encoding() {
            Encoding::F16 => Dtype::F16,
            Encoding::Bf16 => Dtype::BF16,
            Encoding::F32 | Encoding::Q8 | Encoding::Q4 => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.stored.bytes())
    }

    fn data_len(&self) -> usize {
        let size = if self.dtype() == Dtype::F32 { 4 } else { 2 };
        self.shape.iter().product::<usize>() * size
    }
}
