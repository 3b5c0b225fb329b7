#!/usr/bin/env python3
"""Writes stand-ins of the four models: their names, shapes and types without their weights, as sparse files.

    sparse-models.py DIR                 as directories DIR/org/name
    sparse-models.py --hub-cache DIR     as the hub's cache: then `HF_HUB_CACHE=DIR HF_HUB_OFFLINE=1 evomerge …`

`evomerge plan` and `evomerge submit` read no weight, so they say the same of these as of the real models. Every weight is 0.
"""

import argparse
import hashlib
import json
import math
import os
import struct

HIDDEN, LAYERS, MLP, KEYS = 4096, 32, 14336, 1024
CONFIG = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "torch_dtype": "bfloat16", "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS, "intermediate_size": MLP, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
    "max_position_embeddings": 32768, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}
# Tokens that a model has beside the 32,000 of Mistral-7B-v0.1. Public merges of the first three models work without any
# change of their vocabulary, so they have none. Abel-7B-002 has more: that it has these 32, and so 32,032 rows, is
# concluded from code that merges it, not read in its files.
PADDING = ["<pad>"] + [f"<extra_id_{i}>" for i in range(32001, 32032)]
# All four are written as bfloat16 in two safetensors files, as Mistral-7B-v0.1 is. How the other three are stored was not
# verified: pickles would make no difference to a plan, float32 would double the bytes read. Their config.json is the
# base's here; where a real one has another value (of max_position_embeddings, say), `plan` notes it.
MODELS = {
    "mistralai/Mistral-7B-v0.1": [],
    "augmxnt/shisa-gamma-7b-v1": [],
    "WizardLM/WizardMath-7B-V1.1": [],
    "GAIR/Abel-7B-002": PADDING,
}
SHARD = 10_000_000_000


def tensors(rows):
    """Names and shapes, in the order of the files."""
    yield "model.embed_tokens.weight", [rows, HIDDEN]
    layer = {
        "self_attn.q_proj": [HIDDEN, HIDDEN], "self_attn.k_proj": [KEYS, HIDDEN], "self_attn.v_proj": [KEYS, HIDDEN],
        "self_attn.o_proj": [HIDDEN, HIDDEN], "mlp.gate_proj": [MLP, HIDDEN], "mlp.up_proj": [MLP, HIDDEN],
        "mlp.down_proj": [HIDDEN, MLP], "input_layernorm": [HIDDEN], "post_attention_layernorm": [HIDDEN],
    }
    for number in range(LAYERS):
        for name, shape in layer.items():
            yield f"model.layers.{number}.{name}.weight", shape
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [rows, HIDDEN]


def shards(rows):
    """Headers of the files: each maps names to types, shapes and places."""
    headers, end = [{}], 0
    for name, shape in tensors(rows):
        size = 2 * math.prod(shape)
        if end + size > SHARD:
            headers.append({})
            end = 0
        headers[-1][name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return headers


def tokenizer(more):
    """A stand-in that has the tokens of Mistral's special ids and bytes, and no name for any other id but the last."""
    special = ["<unk>", "<s>", "</s>"]
    vocab = special + [f"<0x{byte:02X}>" for byte in range(256)]
    ids = {token: number for number, token in enumerate(vocab)} | {"last": 31999}
    ids |= {token: 32000 + place for place, token in enumerate(more)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": ids[token], "content": token} | flags for token in special + more]
    model = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "vocab": ids, "merges": []}
    return {"version": "1.0", "added_tokens": added, "model": model, "decoder": {"type": "ByteFallback"}}


def write(folder, more):
    os.makedirs(folder)

    def put(name, value):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    rows = 32000 + len(more)
    put("config.json", CONFIG | {"vocab_size": rows})
    put("tokenizer.json", tokenizer(more))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    put("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"} | names)
    headers, places, total = shards(rows), {}, 0
    for number, header in enumerate(headers, 1):
        name = f"model-{number:05}-of-{len(headers):05}.safetensors"
        text = json.dumps({"__metadata__": {"format": "pt"}} | header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        size = max(tensor["data_offsets"][1] for tensor in header.values())
        with open(os.path.join(folder, name), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + size)
        places |= dict.fromkeys(header, name)
        total += size
    put("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", help="where the models are written as directories org/name")
    parser.add_argument("--hub-cache", metavar="DIR", help="where they are written as the cache of the hub")
    given = parser.parse_args()
    if bool(given.directory) == bool(given.hub_cache):
        parser.error("give a directory, or --hub-cache DIR")
    for name, more in MODELS.items():
        if given.directory:
            write(os.path.join(given.directory, name), more)
            continue
        place = os.path.join(given.hub_cache, "models--" + name.replace("/", "--"))
        commit = hashlib.sha1(f"stand-in of {name}".encode()).hexdigest()
        # This fails where the real model is: a stand-in must never be taken for it.
        os.makedirs(os.path.join(place, "refs"))
        write(os.path.join(place, "snapshots", commit), more)
        with open(os.path.join(place, "refs", "main"), "w", encoding="utf-8") as file:
            file.write(commit)


if __name__ == "__main__":
    main()
