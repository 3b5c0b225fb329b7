#!/usr/bin/env python3
"""A judge for `evomerge search`: a large language model compares a candidate's answers with those of the best parent.

Usage: score.py MODEL PARENT URL NAME < items. Each item has an `id` and a `prompt`. `evomerge eval` asks MODEL and PARENT; it
remembers the parent's answers, so that they are made once. The judge is NAME on an OpenAI-compatible server at URL.

Each pair is judged twice, with the answers' places swapped, because judges prefer a place. The score is 1 if the candidate's
answer is better both times, 0 if it is worse both times, and 0.5 if the judge contradicts itself or sees no difference. So 0.5
is as good as the parent.
"""

import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

model, parent, url, name = sys.argv[1:]
items = [json.loads(line) for line in sys.stdin if line.strip()]

# One task for both models: the items' prompts, and an answer of at most 200 tokens.
TASK = """
task: judged
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: ""
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 200}
metric_list: [{metric: exact_match}]
"""

QUESTION = """Two assistants were given the same request. Compare their answers: are they right, helpful, and in good Japanese?
Reply with one letter: A if the first is better, B if the second is, C if they are as good.

Request:
{prompt}

Answer A:
{a}

Answer B:
{b}

The better answer is:"""


def answers(of):
    """The answer to each item, by its id."""
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/items.jsonl", "w") as file:
            file.writelines(json.dumps({"id": item["id"], "prompt": item["prompt"]}) + "\n" for item in items)
        with open(f"{place}/judged.yaml", "w") as file:
            file.write(TASK)
        command = ["evomerge", "eval", of, "--tasks", f"{place}/judged.yaml", "--json", f"{place}/out"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (samples,) = glob.glob(f"{place}/out/**/samples_*.jsonl", recursive=True)
        with open(samples) as file:
            rows = [json.loads(line) for line in file]
    return {row["doc"]["id"]: row["resps"][0][0] for row in rows}


def better(prompt, a, b):
    """The letter of the better answer."""
    text = QUESTION.format(prompt=prompt, a=a, b=b)
    body = {"model": name, "messages": [{"role": "user", "content": text}], "max_tokens": 1, "temperature": 0}
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("JUDGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["choices"][0]["message"]["content"].strip()[:1].upper()


def score(item):
    ours, theirs = candidate[item["id"]], best[item["id"]]
    if ours == theirs:
        return 0.5
    first, second = better(item["prompt"], ours, theirs), better(item["prompt"], theirs, ours)
    if not {first, second} <= {"A", "B", "C"}:
        print(f"item {item['id']}: the judge said {first!r} and {second!r}, not A, B or C", file=sys.stderr)
        return 0.5
    return ({"A": 1, "B": 0, "C": 0.5}[first] + {"A": 0, "B": 1, "C": 0.5}[second]) / 2


candidate, best = answers(model), answers(parent)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for item, value in zip(items, pool.map(score, items)):
        print(json.dumps({"id": item["id"], "score": value, "text": candidate[item["id"]]}))
