#!/usr/bin/env python3
"""Makes the models of this example in `models/`: a base and three that were "fine-tuned" from it, and `items.jsonl`.

No training is needed to show a search. What is right is a denoiser that mixes them: the attention of `ja` with the rest of
`style`, and a part of `detail`. So a merge can be better than each of them, as with EvoSDXL-JP.
"""

import json
import os

import numpy as np
from unet import SHAPES, save

random = np.random.default_rng(7)
here = os.path.dirname(os.path.abspath(__file__))
base = {name: random.normal(0, shape[1] ** -0.5, shape).astype("f4") for name, shape in SHAPES.items()}
changes = {
    model: {name: random.normal(0, 0.6 * shape[1] ** -0.5, shape).astype("f4") for name, shape in SHAPES.items()}
    for model in ("ja", "style", "detail")
}
models = {"base": base}
models |= {model: {name: base[name] + change[name] for name in SHAPES} for model, change in changes.items()}
part = lambda name: {"ja": 0.7, "style": 0.1, "detail": 0.2} if "attn" in name else {"ja": 0.1, "style": 0.6, "detail": 0.3}
models["right"] = {name: base[name] + sum(p * changes[m][name] for m, p in part(name).items()) for name in SHAPES}
for model, tensors in models.items():
    os.makedirs(f"{here}/models/{model}", exist_ok=True)
    save(f"{here}/models/{model}/diffusion_pytorch_model.safetensors", tensors)
with open(f"{here}/items.jsonl", "w") as file:
    for seed in range(120):
        file.write(json.dumps({"id": f"noise-{seed}", "seed": seed}) + "\n")
