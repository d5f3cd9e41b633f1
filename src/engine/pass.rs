//! A pass of a model over tokens: how many of them, what a step takes of it, and how its numbers are read.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// Tokens that are read in one pass at most, as far as chunks and blocks allow. Bounds the memory of a pass; fewer would
/// cost time, since each pass decodes the weights.
pub(crate) const PASS: usize = 128;
/// What is done of a pass in one step, between two of which a session may wait or be given up: as much as so many tokens
/// take through all layers, and at least one layer. For rsafe-mini as WebAssembly that is some 40 ms on one core of a
/// server. Work is counted because in some runtimes the clock stands still while they compute.
const STEP: usize = 40;

/// How many of a model's layers a pass over so many tokens takes in one step.
pub(crate) fn layers_of_a_step(layers: usize, tokens: usize) -> usize {
    (STEP * layers / tokens.max(1)).max(1)
}

/// Refuses a tokenizer whose ids go beyond the model's vocabulary.
pub(crate) fn fits(tokenizer: &Tokenizer, vocab_size: usize) -> Result<()> {
    if tokenizer.vocab_size() > vocab_size {
        return Err(Error::BadModel(format!(
            "the tokenizer has {} tokens but the model only {vocab_size}; is the tokenizer another model's?",
            tokenizer.vocab_size(),
        )));
    }
    Ok(())
}

/// A tensor's numbers, read without blocking: on the web nothing may wait for the GPU.
pub(crate) async fn read_numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|e| Error::DeviceLost(format!("reading a result: {e:?}")))?;
    Ok(data.iter::<f32>().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_of_more_tokens_than_the_model_knows_is_refused() {
        let tokenizer = Tokenizer::from_bytes(include_bytes!("../../tests/golden/tokenizers/tiny.json")).unwrap();
        let tokens = tokenizer.vocab_size();
        assert!(fits(&tokenizer, tokens).is_ok() && fits(&tokenizer, tokens + 64).is_ok(), "padding does no harm");
        let error = fits(&tokenizer, tokens - 1).unwrap_err();
        assert!(error.code() == "bad_model" && error.to_string().contains(&tokens.to_string()), "{error}");
    }
}
