"""Measures searches through a real vLLM, and breaks engine and search at random. See engine.sh."""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

EVOMERGE = os.environ["EVOMERGE"]


class Engine:
    """A vLLM that serves a model on a port of this machine."""

    def __init__(self, vllm, model, dtype, context, port=None):
        self.command = [vllm, "serve", str(model), "--dtype", dtype, "--max-model-len", str(context), "--enforce-eager"]
        self.port = port or free_port()
        self.log = tempfile.NamedTemporaryFile(suffix=".log")
        self.start()

    def start(self):
        env = {**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        command = [*self.command, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log, start_new_session=True)
        began = time.time()
        while time.time() - began < 300:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(Path(self.log.name).read_text()[-3000:])
                time.sleep(1)
        sys.exit("vLLM does not start")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def option(self):
        return ["--engine", f"vllm=http://127.0.0.1:{self.port}"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(*args, check=True):
    began = time.perf_counter()
    done = subprocess.run([EVOMERGE, *map(str, args)], capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(map(str, args))}\n{done.stderr}")
    return done, time.perf_counter() - began


def scores(model, tasks, more=()):
    """Score of a model on each task, and the seconds that it took."""
    done, seconds = run("eval", model, "--tasks", *tasks, "--json", "--no-memory", *more)
    said = json.loads(done.stdout)
    return {task: one["value"] for task, one in said["scores"].items()}, seconds


def parents(engine, family):
    """Scores of the four models on greedy tasks, by our own forward pass and through the engine."""
    tasks = [family / "tasks" / f"{name}.yaml" for name in ("mgsm-ja-mini", "ja-solution-mini")]
    print("\n## Parents: our own forward pass, and vLLM\n\n| model | task | ours | vLLM |\n|---|---|---:|---:|")
    same, times = True, {"ours": [], "vLLM": []}
    for name in ("base", "ja", "math-a", "math-b"):
        (own, t_own), (theirs, t_theirs) = scores(family / name, tasks), scores(family / name, tasks, engine.option)
        times["ours"].append(t_own)
        times["vLLM"].append(t_theirs)
        for task in own:
            same &= own[task] == theirs[task]
            print(f"| {name} | {task} | {100 * own[task]:.1f} | {100 * theirs[task]:.1f} |")
    items = 800
    for who, seconds in times.items():
        print(f"\n{who}: {items / statistics.median(seconds):.0f} items per second (median of {len(seconds)}, start included)")
    print(f"\nall scores are {'the same' if same else 'NOT the same'}")


def ten_times(engine, family):
    """The same model ten times: how far an engine that is not deterministic moves a score."""
    task = family / "tasks/mgsm-ja-mini.yaml"
    all_scores = [scores(family / "ja", [task], engine.option)[0]["mgsm-ja-mini"] for _ in range(10)]
    print("\n## One model ten times\n")
    print(f"mgsm-ja-mini: from {100 * min(all_scores):.1f} to {100 * max(all_scores):.1f}")


def search(engine, file, out, more=()):
    """A whole search through the engine: prints what it says of the engine, its table and verdicts."""
    done, seconds = run("search", file, "-o", out, *engine.option, *more)
    print(done.stdout)
    told = [line for line in done.stderr.splitlines() if re.match(r"(vllm=|engine:|verdict|note|done)", line)]
    print("\n".join(told))
    result = json.loads((out / "result.json").read_text())
    return result, seconds


def killed(engine, family, rounds, budget):
    """kill -9 of the engine and of the search at random times; the answer must be the one of an undisturbed search."""
    print(f"\n## {rounds} kills of engines and of searches\n")
    with tempfile.TemporaryDirectory() as there:
        file = family / "search.yaml"
        undisturbed, _ = run("search", file, "-o", Path(there) / "whole", "--budget", budget, *engine.option)
        out, args = Path(there) / "broken", ["--budget", str(budget), *engine.option]
        command = [EVOMERGE, "search", str(file), "-o", str(out), *args]
        for number in range(rounds):
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(random.uniform(2, 12))
            engine.kill()
            engine.start()
            time.sleep(random.uniform(2, 8))
            running.kill()
            said = running.communicate()[1]
            print(f"round {number + 1}: the engine was started again, then the search was killed; "
                  f"{said.count('scored again')} candidates were scored again")
        done, _ = run(*command[1:])
        same = all((Path(there) / "whole" / name).read_bytes() == (out / name).read_bytes() for name in ("best.yaml", "result.json"))
        left = [path.name for path in Path("/dev/shm").glob("*evomerge-scratch-*")]
        print(f"the answer is {'the same' if same else 'NOT the same'} as without kills; left in /dev/shm: {left or 'nothing'}")


def perturbed(base, out, seed, scale):
    """A copy of a checkpoint whose every weight is moved a little."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, out)
    torch.manual_seed(seed)
    path = out / "model.safetensors"
    tensors = load_file(path)
    moved = {name: (t.float() + scale * t.float().std() * torch.randn(t.shape)).to(t.dtype) if t.ndim > 1 else t
             for name, t in tensors.items()}
    save_file(moved, path, {"format": "pt"})


def smollm2(vllm, root, base):
    """A whole search among SmolLM2-135M and two perturbed copies, in bf16."""
    print("\n## SmolLM2-135M and two perturbed copies, bf16\n")
    with tempfile.TemporaryDirectory() as there:
        there = Path(there)
        for seed, name in enumerate(["a", "b"]):
            perturbed(base, there / name, seed, 0.05)
        # Likelihoods of written solutions: 135M parameters write none that are right.
        folder = root / "recipes/sansu/tasks"
        for split, items in ("optimise", 200), ("validation", 40), ("test", 60):
            name = f"mgsm-ja-mini.{split}.jsonl"
            lines = (folder / name).read_text().splitlines(keepends=True)
            (there / name).write_text("".join(lines[:items]))
        task = (folder / "mgsm-ja-likelihood.yaml").read_text()
        files = "validation: mgsm-ja-mini.validation.jsonl\n    test: mgsm-ja-mini.test.jsonl"
        task = task.replace("optimise.jsonl\n", f"optimise.jsonl\n    {files}\n")
        splits = "{search: train, select: validation, report: test}"
        (there / "task.yaml").write_text(task.replace("{search: train}", splits))
        (there / "search.yaml").write_text(f"""merge_method: linear
models:
- {{model: {base}, parameters: {{weight: {{search: [0.0, 1.5]}}}}}}
- {{model: {there / "a"}, parameters: {{weight: {{search: [0.0, 1.5]}}}}}}
- {{model: {there / "b"}, parameters: {{weight: {{search: [0.0, 1.5]}}}}}}
dtype: bfloat16
search:
  budget: 400
  seed: 1
  optimizer: {{name: cma_es, population: 5}}
  objective: [{{task: task.yaml, items: 20}}]
""")
        engine = Engine(vllm, base, "bfloat16", 512)
        try:
            _, seconds = search(engine, there / "search.yaml", there / "out")
            print(f"{seconds:.0f} s in all")
        finally:
            engine.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vllm")
    parser.add_argument("root", type=Path)
    parser.add_argument("--smollm2", type=Path, metavar="DIR", help="SmolLM2-135M in bf16, as smollm2.py writes it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=24000)
    args = parser.parse_args()
    family = args.root / "recipes/sansu"
    engine = Engine(args.vllm, family / "base", "float32", 512)
    try:
        parents(engine, family)
        ten_times(engine, family)
        print("\n## The bundled search\n")
        with tempfile.TemporaryDirectory() as there:
            result, seconds = search(engine, family / "search.yaml", Path(there) / "out", ["--budget", args.budget])
            score = result["winner"]["scores"]["mgsm-ja-mini"]
            print(f"\nwinner {100 * score['value']:.1f}% on {score['n']} items, {seconds:.0f} s")
        killed(engine, family, args.rounds, min(args.budget, 1200))
    finally:
        engine.kill()
    if args.smollm2:
        smollm2(args.vllm, args.root, args.smollm2)


main()
