"""Merges small models with evomerge, loads each result into transformers as it is, and compares logits.

The parents are made here, with transformers, tokenizers and peft. Each result must load without a key missing, left over or
of another shape. Its logits in float32 are compared with those of our own forward pass, and with those of the same merge made
with torch (an average, layers put together, peft's own merge) where there is one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    logging,
)

logging.disable_progress_bar()
logging.set_verbosity_error()

SEQUENCES = [[1, 5, 17, 42, 99, 250, 3, 3, 61], [1], [299, 128, 64, 32, 16, 8, 4, 2, 1, 0] * 6]
# Of the largest logit: two orders of the same sums in float32 differ by less.
TOLERANCE = 1e-5
SIZES = dict(
    vocab_size=300, hidden_size=48, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
LINEAR = "merge_method: linear\nmodels:\n  - {model: %s, parameters: {weight: 0.5}}\n  - {model: %s, parameters: {weight: 0.5}}\n"
PASSTHROUGH = "merge_method: passthrough\nmodels: [{model: %s}]\n"


@dataclass
class Case:
    """A merge; `same` makes it again with torch."""

    recipe: str
    same: Callable | None = None
    options: tuple[str, ...] = ()
    shards: int = 1


def load(path):
    """A checkpoint as it is, in float32; fails if a key is missing, left over or of another shape."""
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    wrong = {what: keys for what, keys in info.items() if keys}
    if wrong:
        raise ValueError(f"transformers: {wrong}")
    return model.eval()


def average(a, b, dtype=torch.float32):
    """A model between two others, rounded to a type."""
    with torch.no_grad():
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            x.copy_(((x + y) / 2).to(dtype))
    return a


def with_layers(model, layers):
    """A model with other layers than its own."""
    model.model.layers = torch.nn.ModuleList(layers)
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number
    model.config.num_hidden_layers = len(layers)
    return model


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([__doc__], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def make_parents(to):
    """A family of Llamas, tied ones, one with more tokens, a family of Qwens, and adapters."""
    torch.manual_seed(0)

    def family(prefix, kind, config, dtype):
        base = kind(config)
        with torch.no_grad():
            for weight in base.parameters():
                weight.copy_((weight.dim() == 1) + 0.1 * torch.randn_like(weight))
            for name in "ab":
                model = kind(config)
                model.load_state_dict(base.state_dict())
                for weight in model.parameters():
                    weight.add_(0.03 * torch.randn_like(weight))
                model.to(dtype).save_pretrained(to / f"{prefix}-{name}")
                make_tokenizer().save_pretrained(to / f"{prefix}-{name}")

    family("llama", LlamaForCausalLM, LlamaConfig(**SIZES), torch.float32)
    family("half", LlamaForCausalLM, LlamaConfig(**SIZES), torch.bfloat16)
    family("tied", LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True), torch.float32)
    family("qwen2", Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True), torch.bfloat16)

    extended = load(to / "llama-b")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>", "<call>", "</call>"])
    extended.resize_token_embeddings(len(tokenizer))
    extended.save_pretrained(to / "llama-ext")
    tokenizer.save_pretrained(to / "llama-ext")

    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapters = {
        "plain": LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False),
        "patterned": LoraConfig(
            r=8, lora_alpha=16, use_rslora=True, target_modules=every, rank_pattern={"q_proj": 4, "layers.1.mlp.up_proj": 2},
            alpha_pattern={"down_proj": 32}, modules_to_save=["lm_head"], init_lora_weights=False,
        ),  # fmt: skip
    }
    for name, config in adapters.items():
        model = get_peft_model(load(to / "llama-a"), config)
        with torch.no_grad():
            for weight_name, weight in model.named_parameters():
                if "lora_" in weight_name:
                    weight.copy_(0.1 * torch.randn_like(weight))
                elif "modules_to_save" in weight_name:
                    weight.add_(0.1 * torch.randn_like(weight))
        model.save_pretrained(to / name)


def cases(at):
    a, b = (lambda: load(at / "llama-a")), (lambda: load(at / "llama-b"))

    def adapted(name):
        return lambda: PeftModel.from_pretrained(a(), at / name).merge_and_unload()

    slices = "".join(
        f"  - sources: [{{model: llama-{model}, layer_range: [{start}, {end}]}}]\n"
        for model, start, end in [("a", 0, 3), ("b", 1, 4)]
    )
    # The embedding comes with the first slice, the norm and the head with the last.
    def stacked():
        first, last = a(), b()
        layers = [*first.model.layers[:3], *last.model.layers[1:]]
        last.model.embed_tokens = first.model.embed_tokens
        return with_layers(last, layers)

    return {
        "untied": Case(LINEAR % ("llama-a", "llama-b"), lambda: average(a(), b())),
        "untied-bfloat16": Case(
            LINEAR % ("half-a", "half-b"), lambda: average(load(at / "half-a"), load(at / "half-b"), torch.bfloat16)
        ),
        "tied": Case(LINEAR % ("tied-a", "tied-b"), lambda: average(load(at / "tied-a"), load(at / "tied-b"))),
        "resized": Case(LINEAR % ("llama-ext", "llama-a") + "base_model: llama-a\ntokenizer: {source: union}\n"),
        "stacked": Case(f"merge_method: passthrough\nslices:\n{slices}", stacked),
        "lora": Case(PASSTHROUGH % "llama-a+plain", adapted("plain")),
        "lora-patterned": Case(PASSTHROUGH % "llama-a+patterned", adapted("patterned")),
        "lora-merged": Case(LINEAR % ("llama-a+plain", "llama-b"), lambda: average(adapted("plain")(), b())),
        "sharded": Case(
            LINEAR % ("llama-a", "llama-b"), lambda: average(a(), b()), options=("--shard-size", "200KB"), shards=2
        ),
        "qwen2": Case(
            LINEAR % ("qwen2-a", "qwen2-b"),
            lambda: average(load(at / "qwen2-a"), load(at / "qwen2-b"), torch.bfloat16),
        ),
    }


def logits_of(model):
    with torch.no_grad():
        return [model(torch.tensor([tokens])).logits[0] for tokens in SEQUENCES]


def ours(program, path):
    sequences = [",".join(map(str, tokens)) for tokens in SEQUENCES]
    return [torch.tensor(rows) for rows in json.loads(run([program, path, *sequences]))]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return done.stdout


def difference(some, others):
    """Of the largest logit."""
    most = max(rows.abs().max() for rows in others)
    return max((one - other).abs().max() for one, other in zip(some, others, strict=True)).item() / most.item()


def check(case, name, at, args):
    recipe, output = at / f"{name}.yaml", at / f"merged-{name}"
    recipe.write_text(case.recipe)
    run([args.evomerge, "merge", recipe, "-o", output, *case.options])
    shards = len(list(output.glob("*.safetensors")))
    if shards < case.shards:
        raise ValueError(f"{shards} shards, not {case.shards}")
    model = load(output)
    # Which must load; what it counts differs, as transformers adds tokens to some architectures' tokenizers.
    AutoTokenizer.from_pretrained(output)
    tokens = Tokenizer.from_file(str(output / "tokenizer.json")).get_vocab_size()
    vocab = model.get_input_embeddings().num_embeddings
    if vocab != model.config.vocab_size or tokens > vocab:
        raise ValueError(f"{vocab} rows in the embedding, {model.config.vocab_size} in config.json, {tokens} tokens")
    logits = logits_of(model)
    differences = {"our forward": difference(ours(args.logits, output), logits)}
    if case.same:
        differences["made with torch"] = difference(logits_of(case.same()), logits)
    # A difference that is not a number is none that can be tolerated.
    if not all(by <= TOLERANCE for by in differences.values()):
        raise ValueError(f"logits differ: {differences}")
    told = ", ".join(f"{what} {by:.1e}" for what, by in differences.items())
    return f"{model.num_parameters()} parameters, {vocab} tokens, {shards} file{'s'[: shards > 1]}; {told}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evomerge", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True, help="the program that prints what our forward pass computes")
    parser.add_argument("cases", nargs="*", help="only these")
    args = parser.parse_args()

    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        make_parents(at)
        known = cases(at)
        for parent in ("llama-a", "half-a", "tied-a", "llama-ext", "qwen2-a"):
            by = difference(ours(args.logits, at / parent), logits_of(load(at / parent)))
            print(f"{'parent ' + parent:20} our forward {by:.1e}")
            failed += not by <= TOLERANCE
        for name in args.cases or known:
            if name not in known:
                sys.exit(f"there is no case `{name}` here, but {', '.join(known)}")
            try:
                print(f"{name:20} {check(known[name], name, at, args)}", flush=True)
            except ValueError as e:
                print(f"{name:20} FAILED: {e}", flush=True)
                failed += 1
    print("differences are of the largest logit, in float32;", f"{failed} failed" if failed else "all are the same")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
