"""Makes the tiny random checkpoints beside this file, each with outputs of Hugging Face transformers in float32.

    pip install torch transformers tokenizers safetensors
    python make_fixtures.py OUT_DIR CORPUS.txt

CORPUS.txt is any English text; the 1,024-token vocabulary is learned from its first 400,000 characters.
The weights are random but seeded: what is compared is the arithmetic, not the language.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
PROMPT = (
    "<|im_start|>user\n"
    "How do I reset a forgotten router password? Ünïcode, 漢字 and 🙂 included.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
SHAPE = dict(
    vocab_size=1024, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None, eos_token_id=2,
)
# The original context is short, so that the 200-token case reaches every branch of the scaling.
LLAMA3_ROPE = dict(
    rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)


def configs():
    """One checkpoint for each family: biases and tied head, head norms and a free head_dim, scaled rope."""
    qwen = dict(SHAPE, rope_theta=1e6, rms_norm_eps=1e-6)
    yield "qwen2-tied", transformers.Qwen2Config(**qwen, tie_word_embeddings=True)
    yield "qwen3", transformers.Qwen3Config(**qwen, head_dim=32, tie_word_embeddings=False)
    yield "llama3-scaled-rope", transformers.LlamaConfig(
        **SHAPE, rope_theta=5e5, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_scaling=LLAMA3_ROPE
    )


def train_tokenizer(corpus):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1024, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet)
    bpe.train_from_iterator([corpus], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def randomise(model):
    """Spreads the weights wider than the usual initialisation: otherwise a wrong rope or mask hardly shows."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.08)
        elif "norm" in name:
            torch.nn.init.uniform_(parameter, 0.7, 1.3)
        else:
            torch.nn.init.normal_(parameter, std=0.05)


@torch.no_grad()
def golden(model, tokenizer):
    def rounded(row):
        return [round(x, 5) for x in row.tolist()]

    ids = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
    length = ids.shape[1]
    logits = model(ids).logits[0]
    generated = model.generate(ids, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
    long_ids = torch.arange(200).remainder(1000).add(5)[None]
    return {
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "prompt": PROMPT,
        "ids": ids[0].tolist(),
        "logits": {str(i): rounded(logits[i]) for i in (0, 1, length // 2, length - 1)},
        "logits_shape": list(logits.shape),
        "greedy": generated[0, length:].tolist(),
        "long_ids": "arange(200) % 1000 + 5",
        "long_last_logits": rounded(model(long_ids).logits[0, -1]),
        "tolerance": "max |difference| < 1e-3 in float32",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(arguments.corpus.read_text()[:400_000])
    for name, config in configs():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
        randomise(model)
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "golden.json").write_text(json.dumps(golden(model, tokenizer)))


if __name__ == "__main__":
    main()
