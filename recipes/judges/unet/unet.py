"""A denoiser in the shape of a UNet, small enough for numpy, and the safetensors files that its weights lie in."""

import json
import struct

import numpy as np

SIDE, WIDTH = 8, 16
SHAPES = {
    "conv_in.weight": (WIDTH, 4),
    "down_blocks.0.resnets.0.conv1.weight": (2 * WIDTH, 4 * WIDTH),
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight": (2 * WIDTH, 2 * WIDTH),
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight": (2 * WIDTH, 2 * WIDTH),
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_v.weight": (2 * WIDTH, 2 * WIDTH),
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.weight": (2 * WIDTH, 2 * WIDTH),
    "up_blocks.0.resnets.0.conv1.weight": (4 * WIDTH, 2 * WIDTH),
    "conv_out.weight": (4, WIDTH),
}


def save(path, tensors):
    header, offset = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (offset, offset + tensor.nbytes)}
        offset += tensor.nbytes
    head = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for tensor in tensors.values():
            file.write(tensor.astype("<f4").tobytes())


def load(path):
    with open(path, "rb") as file:
        data = file.read()
    (n,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, about in json.loads(data[8 : 8 + n]).items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            assert about["dtype"] == "F32", "write `dtype: float32` in the recipe"
            tensors[name] = np.frombuffer(data[8 + n + begin : 8 + n + end], "<f4").reshape(about["shape"])
    return tensors


def gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def denoise(weights, noisy):
    """Images [n, SIDE, SIDE, 4] in, denoised images out: down by two, attention over all places, up by two, with a skip."""
    w = weights.__getitem__
    n, half = len(noisy), SIDE // 2
    wide = gelu(noisy @ w("conv_in.weight").T)
    patches = wide.reshape(n, half, 2, half, 2, WIDTH).transpose(0, 1, 3, 2, 4, 5).reshape(n, half * half, 4 * WIDTH)
    low = gelu(patches @ w("down_blocks.0.resnets.0.conv1.weight").T)
    q, k, v, out = (
        w(f"mid_block.attentions.0.transformer_blocks.0.attn1.{name}.weight").T for name in ("to_q", "to_k", "to_v", "to_out.0")
    )
    scores = (low @ q) @ (low @ k).transpose(0, 2, 1) / np.sqrt(low.shape[-1])
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    low = low + (shares / shares.sum(-1, keepdims=True)) @ (low @ v) @ out
    up = gelu(low @ w("up_blocks.0.resnets.0.conv1.weight").T)
    up = up.reshape(n, half, half, 2, 2, WIDTH).transpose(0, 1, 3, 2, 4, 5).reshape(n, SIDE, SIDE, WIDTH)
    return (wide + up) @ w("conv_out.weight").T
