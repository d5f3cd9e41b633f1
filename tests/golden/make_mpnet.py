"""A tiny random MPNet and the states that Hugging Face's transformers give for a few ids (torch, transformers, safetensors)."""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MPNetConfig, MPNetModel

OUT = Path(__file__).parent / "mpnet"
torch.manual_seed(5)
config = MPNetConfig(vocab_size=112, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                     max_position_embeddings=514, layer_norm_eps=1e-5)
model = MPNetModel(config, add_pooling_layer=False).eval()
for weight in model.parameters():
    torch.nn.init.normal_(weight, std=0.5)
OUT.mkdir(exist_ok=True)
save_file({name: weight.detach().clone() for name, weight in model.state_dict().items() if "position_ids" not in name},
          OUT / "model.safetensors")
(OUT / "config.json").write_text(json.dumps(config.to_dict() | {"model_type": "mpnet"}, indent=1, sort_keys=True) + "\n")
# <s>, words, and at the end BERT's [UNK], <mask> and </s>: as BERT counts them 101, 1 to 99, 100, 103, 102.
ids = [0] + [5 + (7 * i) % 99 for i in range(150)] + [104, 111, 2]
with torch.no_grad():
    states = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).last_hidden_state[0]
(OUT / "golden.json").write_text(json.dumps({
    "ids": [{0: 101, 2: 102, 111: 103}.get(i, i - 4) for i in ids],
    "states": {str(at): [round(x, 5) for x in states[at].tolist()] for at in (0, 1, 70, 151, 152, 153)},
}) + "\n")
