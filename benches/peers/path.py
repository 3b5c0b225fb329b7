"""Writes tests/data/path-refs.json: what transformers computes along paths through layers, each hop's scale multiplied literally.

    python benches/peers/path.py        from the root of the repository
"""

import json
import random

import torch
from transformers import AutoModelForCausalLM

CASES = [
    ("tests/data/models/llama-a", "tests/data/models/llama-b", 3),
    ("tests/data/models/qwen2-a", "tests/data/models/qwen2-b", 3),
    ("tests/data/architectures/mistral", None, 3),
    ("tests/data/architectures/mixtral", None, 1),
    ("tests/data/architectures/qwen3", None, 1),
    ("tests/data/architectures/phi3", None, 1),
    ("tests/data/architectures/gemma", None, 1),
    ("recipes/sansu/ja", "recipes/sansu/math-a", 3),
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
    for first, second, count in CASES:
        models = [load(path) for path in (first, second) if path]
        outside = models[0]
        layers = [list(model.model.layers) for model in models]
        for _ in range(count):
            path = []
            for source, own in enumerate(layers):
                path += [[source, layer] for layer in range(len(own)) if draw.random() < 0.8]
            path = [[0, 0]] + path + [[draw.randrange(len(layers)), draw.randrange(len(layers[0]))] for _ in range(3)]
            scales = [round(draw.uniform(0.6, 1.6), 3) for _ in path]
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
