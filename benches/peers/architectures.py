"""Tiny models of each architecture, with random weights, and what transformers computes with them.

For each case a folder: `config.json`, `model.safetensors` (or, in `expected.json`, the name of the case that has it) and
`expected.json`: sequences of tokens, the logits after the last token, the greatest logit and the log of the sum of all
exponentials after every token, and the tokens that follow greedily. All in float32, with eager attention.
"""

import argparse
import json
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, logging

logging.disable_progress_bar()
logging.set_verbosity_error()

VOCAB = 128
# Short, one token, and longer than every window and every context here that is stretched.
SEQUENCES = [
    [1, 5, 17, 42, 99, 120, 3, 3, 61],
    [7],
    [(i * i * 7 + 11 * i + 5) % VOCAB for i in range(60)],
]
NEW_TOKENS = 6
SIZES = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=96, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
GROUPED = dict(num_key_value_heads=2)


@dataclass
class Case:
    """A model, and changes of its config.json: None takes a key away. Without a class, the weights are those of another case."""

    kind: str = ""
    config: dict = field(default_factory=dict)
    weights: str = ""
    json: dict = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    # Whether experts are saved in the layout that is older than transformers 5, one tensor for each.
    old_layout: bool = True


def moe(**config):
    return SIZES | GROUPED | dict(num_experts_per_tok=2, moe_intermediate_size=12) | config


# As transformers 4 writes it, where the case's class writes it as transformers 5 does.
def stretched(**scaling):
    return dict(rope_parameters=None, rope_theta=500.0, rope_scaling=scaling)


CASES = {
    "llama": Case("Llama", SIZES | GROUPED | dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "llama-bfloat16": Case("Llama", SIZES | GROUPED, dtype=torch.bfloat16),
    "llama-linear": Case(weights="llama", json=stretched(type="linear", factor=4.0)),
    "llama-dynamic": Case(
        weights="llama", json=dict(max_position_embeddings=32) | stretched(rope_type="dynamic", factor=2.0)
    ),
    "llama-llama3": Case(
        weights="llama",
        json=stretched(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
        ),
    ),
    "llama-yarn": Case(
        weights="llama",
        json=dict(
            rope_parameters=dict(
                rope_type="yarn", rope_theta=500.0, factor=6.0, original_max_position_embeddings=16, beta_fast=4.0
            )
        ),
    ),
    "llama-yarn-mscale": Case(
        weights="llama",
        json=stretched(
            type="yarn", factor=6.0, original_max_position_embeddings=16, beta_fast=2.0, beta_slow=0.5, mscale=0.7,
            mscale_all_dim=1.4, truncate=False,
        ),
    ),  # fmt: skip
    "mistral": Case("Mistral", SIZES | GROUPED | dict(sliding_window=8, head_dim=12)),
    "qwen2": Case(
        "Qwen2",
        SIZES | GROUPED | dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    ),
    "qwen3": Case("Qwen3", SIZES | GROUPED | dict(head_dim=12, use_sliding_window=False, attention_bias=True)),
    # The name of the activation in the first configurations, which means another function.
    "gemma": Case("Gemma", SIZES | GROUPED | dict(num_key_value_heads=1, head_dim=12), json=dict(hidden_act="gelu")),
    "gemma2": Case(
        "Gemma2",
        SIZES | GROUPED | dict(head_dim=12, sliding_window=8, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0),
    ),  # fmt: skip
    "gemma3": Case(
        "Gemma3Text",
        SIZES | GROUPED | dict(
            head_dim=12, sliding_window=8, query_pre_attn_scalar=20,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=3e4),
                sliding_attention=dict(rope_type="default", rope_theta=100.0),
            ),
            layer_types=["sliding_attention", "full_attention"],
        ),
    ),  # fmt: skip
    "gemma3-old": Case(
        weights="gemma3",
        json=dict(
            layer_types=None, sliding_window_pattern=2, rope_parameters=None, rope_theta=2e4, rope_local_base_freq=200.0,
            rope_scaling=dict(rope_type="linear", factor=4.0),
        ),
    ),  # fmt: skip
    "gemma3-with-images": Case(
        "Gemma3",
        dict(
            text_config=SIZES | GROUPED | dict(head_dim=12, sliding_window=8, sliding_window_pattern=2, intermediate_size=24),
            vision_config=dict(
                hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
            ),
            mm_tokens_per_image=4,
        ),
    ),  # fmt: skip
    "phi3": Case("Phi3", SIZES | GROUPED | dict(sliding_window=8)),
    "phi3-longrope": Case(
        weights="phi3",
        json=dict(
            sliding_window=None, rope_parameters=None, rope_theta=500.0, partial_rotary_factor=0.5,
            original_max_position_embeddings=32,
            rope_scaling=dict(type="longrope", short_factor=[1.0, 1.5], long_factor=[1.25, 4.0]),
        ),
    ),  # fmt: skip
    "stablelm": Case("StableLm", SIZES | GROUPED | dict(use_qkv_bias=True, rope_parameters=dict(partial_rotary_factor=0.5))),
    "stablelm-parallel": Case("StableLm", SIZES | GROUPED | dict(use_parallel_residual=True, qk_layernorm=True)),
    "gpt-neox": Case("GPTNeoX", SIZES | dict(rope_parameters=dict(partial_rotary_factor=0.5, rope_theta=100.0))),
    "gpt-neox-sequential": Case(
        weights="gpt-neox",
        json=dict(use_parallel_residual=False, rope_parameters=None, rotary_pct=1.0, rotary_emb_base=1000),
    ),
    "gpt-neox-japanese": Case("GPTNeoXJapanese", SIZES | dict(intermediate_multiple_size=2)),
    "gpt2": Case("GPT2", SIZES | dict(n_inner=40)),
    "gpt2-scaled-by-layer": Case(weights="gpt2", json=dict(scale_attn_by_inverse_layer_idx=True, n_inner=40)),
    "mixtral": Case("Mixtral", moe(num_local_experts=4, intermediate_size=12, sliding_window=None)),
    "mixtral-fused": Case("Mixtral", moe(num_local_experts=3, intermediate_size=12, sliding_window=8), old_layout=False),
    "qwen2-moe": Case(
        "Qwen2Moe",
        moe(num_experts=4, shared_expert_intermediate_size=20, mlp_only_layers=[0], tie_word_embeddings=True),
    ),
    "qwen3-moe": Case("Qwen3Moe", moe(num_experts=4, head_dim=12, norm_topk_prob=True)),
}


def randomise(model, name):
    """All weights random: those of norms too, about what leaves a state as it is."""
    torch.manual_seed(zlib.crc32(name.encode()))
    for key, weight in model.named_parameters():
        is_norm = weight.dim() == 1 and key.endswith("weight")
        middle = 1.0 if is_norm and "Gemma" not in type(model).__name__ else 0.0
        weight.data.copy_(middle + 0.3 * torch.randn_like(weight))


def load(path):
    """A checkpoint as it is, in float32; fails if a key is missing, left over or of another shape."""
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    wrong = {what: keys for what, keys in info.items() if keys}
    if wrong:
        raise ValueError(f"{path}: {wrong}")
    return model.eval()


def expected(path, tokens):
    # Loaded anew each time: rotary embeddings that go by the length remember the longest.
    with torch.no_grad():
        logits = load(path)(torch.tensor([tokens])).logits[0]
        greedy = load(path).generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            generation_config=GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0),
        )[0]

    def rounded(values):
        return [round(value, 5) for value in values.tolist()]

    return {
        "tokens": tokens,
        "logits": rounded(logits[-1]),
        "max": rounded(logits.max(-1).values),
        "log_sum_exp": rounded(logits.logsumexp(-1)),
        "greedy": greedy[len(tokens) :].tolist(),
    }


def make(name, case, to):
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        if case.weights:
            for file in ("config.json", "model.safetensors"):
                shutil.copy(to / case.weights / file, at)
        else:
            config = getattr(transformers, f"{case.kind}Config")(**case.config)
            model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
            randomise(model, name)
            model.to(case.dtype).save_pretrained(at, save_original_format=case.old_layout)
        config = json.loads((at / "config.json").read_text()) | case.json
        config = {key: value for key, value in config.items() if value is not None or key == "sliding_window"}
        (at / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        out = {"sequences": [expected(at, tokens) for tokens in SEQUENCES]}
        if case.weights:
            out = {"weights": case.weights} | out
        (to / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(at / "config.json", to / name)
        if not case.weights:
            shutil.copy(at / "model.safetensors", to / name)
        lines = ",\n  ".join(json.dumps(sequence) for sequence in out.pop("sequences"))
        head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in out.items())
        (to / name / "expected.json").write_text(f'{{\n{head} "sequences": [\n  {lines}\n ]\n}}\n')
    size = sum(file.stat().st_size for file in (to / name).iterdir())
    print(f"{name:20} {AutoConfig.from_pretrained(to / name).architectures[0]:30} {size / 1000:.0f} kB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("to", type=Path)
    parser.add_argument("cases", nargs="*", help="only these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.cases or CASES:
        make(name, CASES[name], args.to)


if __name__ == "__main__":
    main()
