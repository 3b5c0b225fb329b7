"""Writes tests/data/lm-eval-refs.json: what lm-evaluation-harness makes of prompts that are hard to encode or too long.

    python benches/peers/lm_eval_refs.py        # with lm-eval 0.4.13, transformers 5 and torch, at the repository's root
"""

import json
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

FAMILY = Path("recipes/sansu")

lm = HFLM(pretrained=str(FAMILY / "ja"), device="cpu", dtype="float32", batch_size=1)
lines = (FAMILY / "tasks/mgsm-ja-mini.optimise.jsonl").read_text().splitlines()[:40]
prompts = [f"問題：{json.loads(line)['question']}\n答え：" for line in lines]

pairs = [
    (prompts[0], " 41"),
    (prompts[0], "41×2=82。"),
    (prompts[1] + " \u3000\n", "12です"),
    ("", "問題："),
    ("", "<s>問題："),
    ("<s>" + prompts[2], "5"),
    (prompts[4][:-2], "答え：3です。"),
    (prompts[4] + "答", "えは3です。"),
    ("問題：太郎は本", "を2冊買いま"),
    ("".join(prompts[:25]), "41×2=82。"),
    ("\u3000", "答え"),
]
readings = ["".join(prompts), prompts[5], "<s>" + prompts[6]]
generations = ["".join(prompts[:30]), prompts[7], "<s>" + prompts[7]]


def instances(kind, arguments):
    return [Instance(kind, {}, argument, i) for i, argument in enumerate(arguments)]


settings = {"until": ["です"], "max_gen_toks": 40, "do_sample": False}
refs = {
    "pairs": [
        {
            "prompt": prompt,
            "continuation": continuation,
            "tokens": list(lm._encode_pair(prompt, continuation)) if prompt else None,
            "log": log,
            "greedy": bool(greedy),
        }
        for (prompt, continuation), (log, greedy) in zip(pairs, lm.loglikelihood(instances("loglikelihood", pairs)))
    ],
    "readings": [
        {"text": text, "log": log}
        for text, log in zip(readings, lm.loglikelihood_rolling(instances("loglikelihood_rolling", [(t,) for t in readings])))
    ],
    "generations": [
        {"prompt": prompt, "text": text}
        for prompt, text in zip(generations, lm.generate_until(instances("generate_until", [(p, settings) for p in generations])))
    ],
}
rows = ",\n".join(
    f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in of) + "\n]" for name, of in refs.items()
)
Path("tests/data/lm-eval-refs.json").write_text("{\n" + rows + "\n}\n")
