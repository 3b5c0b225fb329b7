"""Writes tests/data/path-refs.json: what transformers computes along paths through layers, each hop's scale multiplied literally.

    python benches/peers/path.py        from the root of the repository
"""

import json
import random

import torch
from transformers import AutoModelForCausalLM

# In models that no one has trained and whose weights are of the order of 0.02, so is the hidden state in all layers, and what
# norms add under their root tells a state from a multiple of it; with scales near 1 it does not.
WIDE, NARROW = (0.6, 1.6), (0.9, 1.1)

CASES = [
    ("tests/data/models/llama-a", "tests/data/models/llama-b", 3, NARROW),
    ("tests/data/models/qwen2-a", "tests/data/models/qwen2-b", 3, NARROW),
    ("tests/data/architectures/mistral", None, 3, WIDE),
    ("tests/data/architectures/mixtral", None, 1, WIDE),
    ("tests/data/architectures/qwen3", None, 1, WIDE),
    ("tests/data/architectures/phi3", None, 1, WIDE),
    ("tests/data/architectures/gemma", None, 1, WIDE),
    ("recipes/sansu/ja", "recipes/sansu/math-a", 3, WIDE),
]


class Hop(torch.nn.Module):
    def __init__(self, layer, scale):
        super().__init__()
        self.layer, self.scale = layer, scale
        self.attention_type = getattr(layer, "attention_type", None)

    def forward(self, hidden, *args, **kwargs):
        return self.layer(hidden * self.scale, *args, **kwargs)


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def main():
    draw, cases = random.Random(5), []
    for first, second, count, scale in CASES:
        models = [load(path) for path in (first, second) if path]
        outside = models[0]
        layers = [list(model.model.layers) for model in models]
        for _ in range(count):
            path = []
            for source, own in enumerate(layers):
                path += [[source, layer] for layer in range(len(own)) if draw.random() < 0.8]
            path = [[0, 0]] + path + [[draw.randrange(len(layers)), draw.randrange(len(layers[0]))] for _ in range(3)]
            scales = [round(draw.uniform(*scale), 3) for _ in path]
            hops = [Hop(layers[source][layer], scale) for (source, layer), scale in zip(path, scales)]
            outside.model.layers = torch.nn.ModuleList(hops)
            outside.config.num_hidden_layers = len(hops)
            outside.config.layer_types = [getattr(hop, "attention_type") or "full_attention" for hop in hops]
            tokens = [draw.randrange(5, outside.config.vocab_size) for _ in range(12)]
            with torch.no_grad():
                logits = outside(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            cases.append({
                "models": [path for path in (first, second) if path],
                "path": [[source, layer, scale] for (source, layer), scale in zip(path, scales)],
                "tokens": tokens,
                "logits": [float(f"{x:.6g}") for x in logits.tolist()],
            })
    with open("tests/data/path-refs.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
