"""Scores one model on the same tasks with evomerge and with lm-evaluation-harness, in turn, and prints what each took.

Time is from start to end of the command. Medians over the runs, whose programs take turns, so that a busy machine slows all of
them. Scores stand beside the times: the programs ask the same questions of the same weights.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = 2
PROMPT = 512

# What lm-evaluation-harness 0.4.13 calls ja_leaderboard_jcommonsenseqa, without its Python.
JCOMMONSENSEQA = r"""
task: jcommonsenseqa
dataset_path: json
dataset_kwargs:
  data_files:
    train: {data}/jglue/datasets/jcommonsenseqa-v1.3/train-v1.3.json
    validation: {data}/jglue/datasets/jcommonsenseqa-v1.3/valid-v1.3.json
training_split: train
validation_split: validation
fewshot_split: train
num_fewshot: 3
description: "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。\n\n"
doc_to_text: "### 指示：\n出力は以下から選択してください：\n- {{{{choice0}}}}\n- {{{{choice1}}}}\n- {{{{choice2}}}}\n- {{{{choice3}}}}\n- {{{{choice4}}}}\n\n### 入力：\n{{{{question}}}}\n\n### 応答："
doc_to_target: label
doc_to_choice: "{{{{[choice0, choice1, choice2, choice3, choice4]}}}}"
target_delimiter: "\n"
output_type: multiple_choice
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""

# What it calls mgsm_native_cot_ja.
MGSM = r"""
task: mgsm
dataset_path: json
dataset_kwargs:
  data_files:
    train: {scratch}/train.jsonl
    test: {scratch}/test.jsonl
training_split: train
test_split: test
num_fewshot: 4
output_type: generate_until
doc_to_text: '{{% if answer %}}{{{{question+"\nステップごとの答え:"}}}}{{% else %}}{{{{"問題： "+question+"\nステップごとの答え:"}}}}{{% endif %}}'
doc_to_target: '{{% if answer %}}{{{{answer[11:]}}}}{{% else %}}{{{{answer_number|string}}}}{{% endif %}}'
target_delimiter: " "
generation_kwargs:
  do_sample: false
  max_gen_toks: 256
  until:
    - "問題："
    - "</s>"
    - "<|im_end|>"
filter_list:
  - name: flexible-extract
    filter:
      - function: regex
        group_select: -1
        regex_pattern: (-?[$0-9.,]{{2,}})|(-?[0-9]+)
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: true
"""

LLAMA_CPP = """
import sys, time
from llama_cpp import Llama
model, length, runs, threads = sys.argv[1], *map(int, sys.argv[2:])
llama = Llama(model, n_ctx=length, n_batch=length, n_ubatch=length, n_threads=threads, n_threads_batch=threads, verbose=False)
for run in range(runs):
    tokens = [(i * 7919 + run) % 4001 for i in range(length)]
    llama.reset()
    began = time.perf_counter()
    llama.eval(tokens)
    print(f"{length / (time.perf_counter() - began):.1f}")
"""


def write_tasks(data, scratch):
    exemplars = json.loads((data / "mgsm/exemplars.json").read_text())["ja"].values()
    train = [{"question": of["q"], "answer": of["a"], "answer_number": ""} for of in exemplars]
    lines = (data / "mgsm/mgsm_ja.tsv").read_text().splitlines()
    test = [line.split("\t") for line in lines if line]
    test = [{"question": question, "answer": "", "answer_number": number} for question, number in test]
    for split, items in (("train", train), ("test", test)):
        (scratch / f"{split}.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    files = {}
    for name, task in (("jcommonsenseqa", JCOMMONSENSEQA), ("mgsm", MGSM)):
        files[name] = scratch / f"{name}.yaml"
        files[name].write_text(task.format(data=data, scratch=scratch))
    return files


def timed(command, cwd, env):
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return took, done.stdout


def score(output, task):
    """The metric of lm-evaluation-harness's results, which evomerge writes too."""
    results = json.loads(max(output.rglob("results*.json"), key=os.path.getmtime).read_text())["results"][task]
    return next(value for key, value in results.items() if key.split(",")[0] in ("acc", "exact_match"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evomerge", type=Path, required=True)
    parser.add_argument("--reading", type=Path, required=True, help="the example of that name")
    parser.add_argument("--python", type=Path, required=True, help="one that has lm-eval and llama-cpp-python")
    parser.add_argument("--model", type=Path, required=True, help="a directory that smollm2.py has written")
    parser.add_argument("--data", type=Path, required=True, help="a directory with jglue and mgsm")
    parser.add_argument("--jcqa", type=int, default=100, help="items of JCommonsenseQA; 0 leaves it out")
    parser.add_argument("--mgsm", type=int, default=50, help="items of MGSM; 0 leaves it out")
    parser.add_argument("--prompts", type=int, default=5, help="prompts read in each run; 0 leaves them out")
    parser.add_argument("--batch", nargs="+", default=["1", "8"], help="batch sizes of lm-eval, of which the best counts")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()

    env = dict(os.environ, OMP_NUM_THREADS=str(THREADS), RAYON_NUM_THREADS=str(THREADS), TOKENIZERS_PARALLELISM="false")
    models = {"f32": (args.model, "float32"), "bf16": (Path(f"{args.model}-bf16"), "bfloat16")}
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {args.runs} runs in turn, {THREADS} threads")
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        files = write_tasks(args.data.resolve(), scratch)
        for task, items in (("jcommonsenseqa", args.jcqa), ("mgsm", args.mgsm)):
            if items == 0:
                continue
            programs = {}
            for dtype, (model, named) in models.items():
                ours = [args.evomerge, "eval", model, "--tasks", files[task], "--limit", str(items), "--no-memory"]
                programs[f"evomerge {dtype}"] = [*ours, "--json"]
                for batch in args.batch:
                    programs[f"lm-eval {dtype} batch {batch}"] = [
                        *[args.python, "-P", "-m", "lm_eval", "--model", "hf"],
                        *["--model_args", f"pretrained={model},dtype={named}", "--device", "cpu", "--tasks", files[task]],
                        *["--limit", str(items), "--batch_size", batch, "--output_path"],
                    ]
            took, scores = {name: [] for name in programs}, {}
            for run in range(args.runs):
                for name, program in programs.items():
                    output = scratch / f"{task} {name} {run}"
                    try:
                        took[name].append(timed([*map(str, program), str(output)], scratch, env)[0])
                        scores[name] = score(output, task)
                    except (RuntimeError, OSError, ValueError, KeyError, StopIteration) as e:
                        print(f"{name}: {e}", file=sys.stderr, flush=True)
                        failed = True
            medians = {name: statistics.median(times) for name, times in took.items() if times}
            ours = medians.get("evomerge f32")
            print(f"\n| {task}, {items} items | seconds | to evomerge f32 | score |")
            print("|------------------------------|--------:|----------------:|------:|")
            for name, median in medians.items():
                ratio = median / ours if ours else float("nan")
                print(f"| {name:28} | {median:7.1f} | {ratio:15.2f} | {scores.get(name, float('nan')):.3f} |", flush=True)
        if args.prompts:
            length, prompts = str(PROMPT), str(args.prompts)
            programs = {
                "evomerge f32": [args.reading, args.model, length, prompts],
                "evomerge bf16": [args.reading, models["bf16"][0], length, prompts],
                "llama.cpp f32": [args.python, "-c", LLAMA_CPP, f"{args.model}.gguf", length, prompts, str(THREADS)],
            }
            read = {name: [] for name in programs}
            for _ in range(args.runs):
                for name, program in programs.items():
                    try:
                        read[name] += map(float, timed([*map(str, program)], scratch, env)[1].split())
                    except (RuntimeError, OSError, ValueError) as e:
                        print(f"{name}: {e}", file=sys.stderr, flush=True)
                        failed = True
            medians = {name: statistics.median(speeds) for name, speeds in read.items() if speeds}
            ours = medians.get("evomerge f32", float("nan"))
            print(f"\n| reading {PROMPT} tokens           | tokens/s | evomerge f32 to it |")
            print("|------------------------------|---------:|-------------------:|")
            for name, median in medians.items():
                print(f"| {name:28} | {median:8.0f} | {ours / median:18.2f} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
