//! What a checkpoint's `config.json` says of its shape: read as Hugging Face writes it, checked before a tensor is made.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{
    cache::CacheShape,
    rope::{RopeParameters, RopeScaling},
};
use crate::error::{Error, Result};

/// The networks that rsafe can run, by the names that manifests and `model_type` use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: queries and keys are normalised for each head.
    Qwen3,
    /// Llama 3.x.
    Llama,
    /// rsafe-mini: conversation first, then a slot for each category. Not a [`DecoderConfig`].
    Slots,
}

impl Architecture {
    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Llama => "llama",
            Architecture::Slots => "slots",
        }
    }

    fn of_decoder(model_type: Option<&str>, class: Option<&str>) -> Result<Self> {
        const DECODERS: [(Architecture, &str); 3] = [
            (Architecture::Qwen2, "Qwen2ForCausalLM"),
            (Architecture::Qwen3, "Qwen3ForCausalLM"),
            (Architecture::Llama, "LlamaForCausalLM"),
        ];
        let known = DECODERS.iter().find(|(architecture, name)| match (model_type, class) {
            (Some(model_type), class) => architecture.name() == model_type && class.is_none_or(|class| class == *name),
            (None, Some(class)) => *name == class,
            (None, None) => false,
        });
        match known {
            Some((architecture, _)) => Ok(*architecture),
            None => Err(Error::Unsupported(format!(
                "config.json: model_type {} with architecture {}; rsafe runs qwen2 (Qwen2ForCausalLM), qwen3 \
                 (Qwen3ForCausalLM) and llama (LlamaForCausalLM)",
                model_type.unwrap_or("not given"),
                class.unwrap_or("not given"),
            ))),
        }
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The shape of a Qwen2, Qwen3 or Llama decoder. Field names equal Hugging Face's; every size is checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderConfig {
    pub model_type: Architecture,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Even; not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_parameters: RopeParameters,
    /// Whether the embedding is also the head.
    pub tie_word_embeddings: bool,
    /// Biases on all four projections of the attention (Qwen3 and Llama; Qwen2 always has the first three).
    pub attention_bias: bool,
    /// Biases in the feed-forward network (Llama).
    pub mlp_bias: bool,
    /// The tokens that end an answer; may be empty.
    pub eos_token_id: Vec<u32>,
}

impl DecoderConfig {
    /// Reads the text of a `config.json`, with the rotary embedding as `rope_theta` and `rope_scaling` or as
    /// `rope_parameters`.
    ///
    /// # Errors
    /// [`Error::BadModel`] names the field that is missing or makes no sense; [`Error::Unsupported`] names what this
    /// decoder does not compute: other families, sliding windows, other rope scalings, quantised checkpoints.
    pub fn from_json(config: &str) -> Result<Self> {
        let raw: RawConfig =
            serde_json::from_str(config).map_err(|error| Error::BadModel(format!("config.json: {error}")))?;
        raw.check_supported()?;
        let class = raw.architectures.as_ref().and_then(|classes| classes.first());
        let model_type = Architecture::of_decoder(raw.model_type.as_deref(), class.map(String::as_str))?;
        let heads = size("num_attention_heads", raw.num_attention_heads, 1..=512)?;
        let hidden_size = size("hidden_size", raw.hidden_size, 1..=32_768)?;
        let head_dim = match (raw.head_dim, model_type) {
            (None, Architecture::Qwen3) => 128,
            (None, _) if hidden_size % heads == 0 => hidden_size / heads,
            (None, _) => {
                return Err(bad(format!(
                    "hidden_size {hidden_size} is not a multiple of num_attention_heads {heads} and head_dim is not given"
                )));
            }
            (given, _) => size("head_dim", given, 2..=1024)?,
        };
        let config = Self {
            model_type,
            vocab_size: size("vocab_size", raw.vocab_size, 1..=1 << 20)?,
            hidden_size,
            intermediate_size: size("intermediate_size", raw.intermediate_size, 1..=262_144)?,
            num_hidden_layers: size("num_hidden_layers", raw.num_hidden_layers, 1..=256)?,
            num_attention_heads: heads,
            num_key_value_heads: size("num_key_value_heads", raw.num_key_value_heads.or(Some(heads)), 1..=heads)?,
            head_dim,
            max_position_embeddings: size("max_position_embeddings", raw.max_position_embeddings, 1..=1 << 22)?,
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            rope_parameters: raw.rope()?,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            attention_bias: raw.attention_bias.unwrap_or(false) && model_type != Architecture::Qwen2,
            mlp_bias: raw.mlp_bias.unwrap_or(false) && model_type == Architecture::Llama,
            eos_token_id: raw.eos_token_id.as_ref().map(TokenIds::to_vec).unwrap_or_default(),
        };
        config.check_sizes()?;
        config.check_eos("config.json")?;
        raw.check_window(&config)?;
        Ok(config)
    }

    /// Takes the end tokens of a `generation_config.json`, if it names some: they are what its makers stop at.
    ///
    /// # Errors
    /// [`Error::BadModel`] if the text is not JSON or a token is not in the vocabulary.
    pub fn with_generation_config(mut self, generation_config: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Generation {
            eos_token_id: Option<TokenIds>,
        }
        let generation: Generation = serde_json::from_str(generation_config)
            .map_err(|error| Error::BadModel(format!("generation_config.json: {error}")))?;
        if let Some(ids) = generation.eos_token_id {
            self.eos_token_id = ids.to_vec();
            self.check_eos("generation_config.json")?;
        }
        Ok(self)
    }

    /// The shape of this model's cache.
    pub fn cache_shape(&self) -> CacheShape {
        CacheShape { layers: self.num_hidden_layers, kv_heads: self.num_key_value_heads, head_dim: self.head_dim }
    }

    fn check_sizes(&self) -> Result<()> {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if heads % kv_heads != 0 {
            return Err(bad(format!(
                "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(bad(format!("head_dim {} is odd; the rotary embedding turns pairs", self.head_dim)));
        }
        if heads * self.head_dim > 131_072 {
            return Err(bad(format!("{heads} heads of {} dimensions are more than 131,072", self.head_dim)));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(bad(format!("rms_norm_eps is {}, expected a number between 0 and 1", self.rms_norm_eps)));
        }
        Ok(())
    }

    fn check_eos(&self, file: &str) -> Result<()> {
        match self.eos_token_id.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(Error::BadModel(format!(
                "{file}: eos_token_id {id} is not in the vocabulary of {} tokens",
                self.vocab_size
            ))),
            None => Ok(()),
        }
    }
}

fn bad(what: String) -> Error {
    Error::BadModel(format!("config.json: {what}"))
}

fn size(field: &str, given: Option<usize>, range: RangeInclusive<usize>) -> Result<usize> {
    let (least, most) = (range.start(), range.end());
    match given {
        Some(size) if range.contains(&size) => Ok(size),
        Some(size) => Err(bad(format!("{field} is {size}, expected {least} to {most}"))),
        None => Err(bad(format!("{field} is missing, expected {least} to {most}"))),
    }
}

/// The fields of `config.json` that say what is computed, as they come.
#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    eos_token_id: Option<TokenIds>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    partial_rotary_factor: Option<f64>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of token ids")]
enum TokenIds {
    One(u32),
    Several(Vec<u32>),
}

impl TokenIds {
    fn to_vec(&self) -> Vec<u32> {
        match self {
            TokenIds::One(id) => vec![*id],
            TokenIds::Several(ids) => ids.clone(),
        }
    }
}

#[derive(Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// The name of `rope_type` in older files; some have both.
    r#type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,
    /// Present where the parameters are nested, one set for each kind of layer.
    full_attention: Option<serde::de::IgnoredAny>,
}

impl RawRope {
    fn scaling(&self) -> Result<RopeScaling> {
        let number = |field: &str, given: Option<f64>| match given {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            Some(number) => Err(bad(format!("rope {field} is {number}, expected a number above 0"))),
            None => Err(bad(format!("rope {field} is missing"))),
        };
        match self.rope_type.as_deref().or(self.r#type.as_deref()) {
            None | Some("default") => Ok(RopeScaling::Default),
            Some("linear") => Ok(RopeScaling::Linear { factor: number("factor", self.factor)? }),
            Some("llama3") => {
                let low_freq_factor = number("low_freq_factor", self.low_freq_factor)?;
                let high_freq_factor = number("high_freq_factor", self.high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(bad(format!(
                        "rope high_freq_factor {high_freq_factor} is not above low_freq_factor {low_freq_factor}"
                    )));
                }
                Ok(RopeScaling::Llama3 {
                    factor: number("factor", self.factor)?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: size(
                        "rope original_max_position_embeddings",
                        self.original_max_position_embeddings,
                        1..=1 << 22,
                    )?,
                })
            }
            Some(other) => Err(Error::Unsupported(format!(
                "config.json: rope_type {other:?}; rsafe computes default, linear and llama3"
            ))),
        }
    }
}

impl RawConfig {
    fn check_supported(&self) -> Result<()> {
        let unsupported = |what: String| Err(Error::Unsupported(format!("config.json: {what}")));
        if let Some(act) = self.hidden_act.as_deref().filter(|act| !matches!(*act, "silu" | "swish")) {
            return unsupported(format!("hidden_act {act:?}; rsafe computes silu"));
        }
        if self.quantization_config.is_some() {
            return unsupported("quantization_config; convert the float checkpoint it was made from".into());
        }
        let ropes = [&self.rope_scaling, &self.rope_parameters].into_iter().flatten();
        let partial = ropes.clone().map(|rope| rope.partial_rotary_factor).chain([self.partial_rotary_factor]);
        if let Some(part) = partial.flatten().find(|part| *part != 1.0) {
            return unsupported(format!("partial_rotary_factor {part}; rsafe turns whole heads"));
        }
        if ropes.clone().any(|rope| rope.full_attention.is_some()) {
            return unsupported("rope parameters that differ between layers".into());
        }
        Ok(())
    }

    /// Both forms give the same value; where a file has both, they must agree.
    fn rope(&self) -> Result<RopeParameters> {
        let scaling = match (&self.rope_parameters, &self.rope_scaling) {
            (None, None) => RopeScaling::Default,
            (Some(rope), None) | (None, Some(rope)) => rope.scaling()?,
            (Some(new), Some(old)) => {
                let (new, old) = (new.scaling()?, old.scaling()?);
                if new != old {
                    return Err(bad(format!("rope_parameters say {new:?}, rope_scaling says {old:?}")));
                }
                new
            }
        };
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        let rope_theta = match (nested, self.rope_theta) {
            (Some(nested), Some(top)) if nested != top => {
                return Err(bad(format!("rope_parameters.rope_theta is {nested}, rope_theta is {top}")));
            }
            (Some(theta), _) | (None, Some(theta)) => theta,
            (None, None) if self.rope_parameters.is_some() => {
                return Err(bad("rope_parameters.rope_theta is missing".into()));
            }
            // What all three families mean by a file of the old form that does not say.
            (None, None) => 10_000.0,
        };
        if !(rope_theta.is_finite() && rope_theta > 1.0) {
            return Err(bad(format!("rope_theta is {rope_theta}, expected a number above 1")));
        }
        Ok(RopeParameters { rope_theta, scaling })
    }

    /// A window is refused where it would hide something: switched on, in some layer, and shorter than the context.
    fn check_window(&self, config: &DecoderConfig) -> Result<()> {
        if let Some(types) = &self.layer_types {
            if types.len() != config.num_hidden_layers {
                return Err(bad(format!(
                    "layer_types has {} entries for {} layers",
                    types.len(),
                    config.num_hidden_layers
                )));
            }
            if let Some(other) =
                types.iter().find(|kind| !matches!(kind.as_str(), "full_attention" | "sliding_attention"))
            {
                return Err(Error::Unsupported(format!("config.json: a layer of type {other:?}")));
            }
        }
        // Llama has no window, whatever its file says.
        let on = self.use_sliding_window.unwrap_or(false) && config.model_type != Architecture::Llama;
        let some_layer = match &self.layer_types {
            Some(types) => types.iter().any(|kind| kind == "sliding_attention"),
            None => self.max_window_layers.unwrap_or(28) < config.num_hidden_layers,
        };
        match self.sliding_window {
            Some(window) if on && some_layer && window < config.max_position_embeddings => {
                Err(Error::Unsupported(format!(
                    "config.json: a sliding window of {window} positions in a context of {}; rsafe computes full attention",
                    config.max_position_embeddings
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Qwen2.5-0.5B's shape, with some fields changed; null removes one.
    fn read(model_type: &str, changes: Value) -> Result<DecoderConfig> {
        let mut config = json!({
            "model_type": model_type, "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0, "hidden_act": "silu",
            "use_sliding_window": false, "sliding_window": 32_768, "max_window_layers": 21, "eos_token_id": 151_645,
        });
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        DecoderConfig::from_json(&config.to_string())
    }

    fn refusal(model_type: &str, changes: Value) -> String {
        read(model_type, changes.clone()).expect_err(&changes.to_string()).to_string()
    }

    #[test]
    fn what_a_config_leaves_out_has_the_family_default() {
        let qwen2 = read("qwen2", json!({ "num_key_value_heads": null, "rms_norm_eps": null })).unwrap();
        assert_eq!((qwen2.head_dim, qwen2.num_key_value_heads, qwen2.rms_norm_eps), (64, 14, 1e-6));
        assert!(!qwen2.tie_word_embeddings);
        assert_eq!(read("qwen3", json!({})).unwrap().head_dim, 128);
        let llama = read("llama", json!({ "rope_theta": null, "eos_token_id": null })).unwrap();
        assert_eq!(llama.rope_parameters, RopeParameters { rope_theta: 10_000.0, scaling: RopeScaling::Default });
        assert!(llama.eos_token_id.is_empty());
    }

    #[test]
    fn biases_are_those_of_the_family() {
        let biases = |family| {
            let config = read(family, json!({ "attention_bias": true, "mlp_bias": true })).unwrap();
            (config.attention_bias, config.mlp_bias)
        };
        assert_eq!(biases("qwen2"), (false, false));
        assert_eq!(biases("qwen3"), (true, false));
        assert_eq!(biases("llama"), (true, true));
    }

    #[test]
    fn both_rope_forms_say_the_same() {
        let llama3 = json!({
            "factor": 32.0, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192,
        });
        let form = |type_field: &str, theta: Option<f64>| {
            let mut rope = llama3.clone();
            rope[type_field] = "llama3".into();
            theta.inspect(|theta| rope["rope_theta"] = json!(theta));
            rope
        };
        let old = json!({ "rope_theta": 500_000.0, "rope_scaling": form("rope_type", None) });
        let older = json!({ "rope_theta": 500_000.0, "rope_scaling": form("type", None) });
        let new = json!({ "rope_theta": null, "rope_parameters": form("rope_type", Some(500_000.0)) });
        let read = |changes| read("llama", changes).unwrap();
        assert_eq!(read(old.clone()), read(new.clone()));
        assert_eq!(read(older), read(new));
        assert_eq!(read(old).rope_parameters.rope_theta, 500_000.0);
    }

    #[test]
    fn rope_forms_that_disagree_are_refused() {
        let message =
            refusal("qwen2", json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 10_000.0 } }));
        assert!(message.contains("rope_theta is 10000") && message.contains("1000000"), "{message}");
        refusal(
            "qwen2",
            json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 1e6 },
                    "rope_scaling": { "type": "linear", "factor": 2.0 } }),
        );
        refusal("qwen2", json!({ "rope_theta": null, "rope_parameters": { "rope_type": "default" } }));
    }

    #[test]
    fn what_is_not_computed_is_unsupported_by_name() {
        for (changes, name) in [
            (json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }), "dynamic"),
            (json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0 } }), "yarn"),
            (json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e6 } } }), "between layers"),
            (json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor"),
            (json!({ "hidden_act": "gelu" }), "gelu"),
            (json!({ "quantization_config": { "quant_method": "gptq" } }), "quantization_config"),
            (json!({ "model_type": "gemma3" }), "gemma3"),
            (json!({ "architectures": ["Qwen2ForSequenceClassification"] }), "Qwen2ForSequenceClassification"),
            (json!({ "use_sliding_window": true, "sliding_window": 4096 }), "4096"),
            (json!({ "layer_types": vec!["linear_attention"; 24] }), "linear_attention"),
        ] {
            let error = read("qwen2", changes).unwrap_err();
            assert_eq!(error.code(), "unsupported", "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_window_that_hides_nothing_is_no_obstacle() {
        for changes in [
            json!({ "use_sliding_window": true }),
            json!({ "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 24 }),
            json!({ "use_sliding_window": true, "sliding_window": 4096, "layer_types": vec!["full_attention"; 24] }),
            json!({ "use_sliding_window": true, "sliding_window": null }),
            json!({ "sliding_window": 4096 }),
        ] {
            read("qwen2", changes.clone()).unwrap_or_else(|error| panic!("{changes}: {error}"));
        }
        read("llama", json!({ "use_sliding_window": true, "sliding_window": 4096 })).unwrap();
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused_by_name() {
        for (changes, name) in [
            (json!({ "vocab_size": 0 }), "vocab_size is 0"),
            (json!({ "vocab_size": 4_000_000_000_u64 }), "vocab_size"),
            (json!({ "hidden_size": null }), "hidden_size is missing"),
            (json!({ "hidden_size": 897 }), "not a multiple"),
            (json!({ "num_hidden_layers": 1_000_000 }), "num_hidden_layers"),
            (json!({ "num_key_value_heads": 3 }), "num_key_value_heads 3"),
            (json!({ "num_key_value_heads": 28 }), "num_key_value_heads is 28"),
            (json!({ "head_dim": 63 }), "odd"),
            (json!({ "max_position_embeddings": u64::MAX }), "max_position_embeddings"),
            (json!({ "intermediate_size": -1 }), "invalid value"),
            (json!({ "rms_norm_eps": 0.0 }), "rms_norm_eps"),
            (json!({ "rope_theta": -1.0 }), "rope_theta"),
            (json!({ "eos_token_id": 151_936 }), "eos_token_id 151936"),
            (json!({ "eos_token_id": "<eos>" }), "token id"),
            (json!({ "layer_types": ["full_attention"] }), "layer_types has 1"),
        ] {
            let message = refusal("qwen2", changes);
            assert!(message.starts_with("bad model: config.json:") && message.contains(name), "{message}");
        }
        for rope in [
            json!({ "rope_type": "llama3", "factor": 8.0 }),
            json!({ "rope_type": "linear", "factor": 0.0 }),
            json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4, "high_freq_factor": 4,
                    "original_max_position_embeddings": 8192 }),
        ] {
            refusal("llama", json!({ "rope_scaling": rope }));
        }
    }

    #[test]
    fn the_generation_config_says_where_answers_end() {
        let config = read("llama", json!({ "eos_token_id": [7, 8] })).unwrap();
        assert_eq!(config.eos_token_id, [7, 8]);
        let config = config.with_generation_config(r#"{ "temperature": 0.6 }"#).unwrap();
        assert_eq!(config.eos_token_id, [7, 8]);
        let config = config.with_generation_config(r#"{ "eos_token_id": [128, 9] }"#).unwrap();
        assert_eq!(config.eos_token_id, [128, 9]);
        assert!(config.with_generation_config(r#"{ "eos_token_id": 200000 }"#).is_err());
    }

    #[test]
    fn a_config_that_was_written_reads_the_same() {
        let config = read("llama", json!({ "eos_token_id": [7, 8], "tie_word_embeddings": true })).unwrap();
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(DecoderConfig::from_json(&written).unwrap(), config);
    }
}
