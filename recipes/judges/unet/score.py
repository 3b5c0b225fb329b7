#!/usr/bin/env python3
"""A judge for `evomerge search`: how near a model's denoised images are to those of the right model, for the items' noise.

Usage: score.py MODEL < items. The score is 1 for the same image, and 0 for one that is as far away as none.

With a GPU and real weights, a score takes four lines of diffusers in place of `denoise`, once for all items:

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    unet.load_state_dict(safetensors.torch.load_file(f"{model}/model.safetensors"))
    pipe = StableDiffusionXLPipeline.from_pretrained(base, unet=unet).to("cuda")
    image = pipe(item["prompt"], generator=torch.Generator("cuda").manual_seed(item["seed"])).images[0]

and the score is a CLIP similarity of the image and its prompt, an aesthetic score, or a vision-language model's answer.
"""

import glob
import json
import os
import sys

import numpy as np
from unet import SIDE, denoise, load

model = {}
for file in glob.glob(os.path.join(sys.argv[1], "*.safetensors")):
    model |= load(file)
right = load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "models/right/diffusion_pytorch_model.safetensors"))
for line in sys.stdin:
    item = json.loads(line)
    noise = np.random.default_rng(item["seed"]).normal(size=(1, SIDE, SIDE, 4)).astype("f4")
    wanted = denoise(right, noise)
    error = np.mean((denoise(model, noise) - wanted) ** 2) / np.mean(wanted**2)
    print(json.dumps({"id": item["id"], "score": float(max(0.0, 1.0 - error))}))
