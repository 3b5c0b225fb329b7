"""Measures searches through a real vLLM or llama.cpp, and breaks engine and search at random. See engine.sh."""

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
    """An engine that a command starts at a port of this machine."""

    def __init__(self, kind, command):
        self.kind, self.port = kind, free_port()
        self.command = [*map(str, command), "--host", "127.0.0.1", "--port", str(self.port)]
        self.log = tempfile.NamedTemporaryFile(suffix=".log")
        self.start()

    def start(self):
        env = {**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        self.process = subprocess.Popen(self.command, env=env, stdout=self.log, stderr=self.log, start_new_session=True)
        began = time.time()
        while time.time() - began < 300:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(Path(self.log.name).read_text()[-3000:])
                time.sleep(1)
        sys.exit(f"{self.kind} does not start")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def option(self):
        return ["--engine", f"{self.kind}={self.url}"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


def vllm_engine(vllm, model, dtype):
    return Engine("vllm", [vllm, "serve", model, "--dtype", dtype, "--max-model-len", "512", "--enforce-eager"])


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


def parents(engine, models, tasks, items):
    """Scores of models on greedy tasks, by our own forward pass and through the engine."""
    print(f"\n## Parents: our own forward pass, and {engine.kind}\n\n| model | task | ours | {engine.kind} |\n|---|---|---:|---:|")
    same, times = True, {"ours": [], engine.kind: []}
    for model in models:
        (own, t_own), (theirs, t_theirs) = scores(model, tasks), scores(model, tasks, engine.option)
        times["ours"].append(t_own)
        times[engine.kind].append(t_theirs)
        for task in own:
            same &= own[task] == theirs[task]
            print(f"| {model.stem} | {task} | {100 * own[task]:.1f} | {100 * theirs[task]:.1f} |")
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
    told = [line for line in done.stderr.splitlines() if re.match(r"(vllm=|llama|engine:|verdict|note|done)", line)]
    print("\n".join(told))
    result = json.loads((out / "result.json").read_text())
    return result, seconds


def killed(engine, file, rounds, budget):
    """kill -9 of the engine and of the search at random times; the answer must be the one of an undisturbed search."""
    print(f"\n## {rounds} kills of engines and of searches\n")
    with tempfile.TemporaryDirectory() as there:
        run("search", file, "-o", Path(there) / "whole", "--budget", budget, *engine.option)
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
        engine = vllm_engine(vllm, base, "bfloat16")
        try:
            _, seconds = search(engine, there / "search.yaml", there / "out")
            print(f"{seconds:.0f} s in all")
        finally:
            engine.kill()


RANK = 24


def adapter(base, model, out):
    """The change of every projection of a model as a LoRA adapter: the largest singular values."""
    import torch
    from safetensors.torch import load_file, save_file

    (before, after), tensors = (load_file(path / "model.safetensors") for path in (base, model)), {}
    for name in (name for name in before if name.endswith("_proj.weight")):
        u, s, v = torch.linalg.svd(after[name].double() - before[name].double(), full_matrices=False)
        root, module = s[:RANK].sqrt(), f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = (root[:, None] * v[:RANK]).float().contiguous()
        tensors[f"{module}.lora_B.weight"] = (u[:, :RANK] * root).float().contiguous()
    out.mkdir()
    save_file(tensors, out / "adapter_model.safetensors")
    modules = sorted({name.split(".")[-3] for name in tensors})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": modules}
    (out / "adapter_config.json").write_text(json.dumps(config))


def converted(llama, script, *args):
    """Runs a converter of llama.cpp. It does not know the cutter of these models' vocabulary, which cuts as SmolLM's."""
    code = f"""import runpy, sys
sys.path[:0] = [{str(llama)!r}, {str(llama / "gguf-py")!r}]
import conversion.base
conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "smollm"
sys.argv = {[script, *map(str, args)]!r}
runpy.run_path({str(llama / script)!r}, run_name="__main__")"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def cached(engine, prompts):
    """Share of answers that come from other scales if the server's cache of prompts is left on."""
    def ask(scale, cache):
        body = {"prompt": prompts, "n_predict": 24, "temperature": 0, "samplers": ["top_k"], "top_k": 1, "return_tokens": True,
                "cache_prompt": cache, "lora": [{"id": id, "scale": scale if id == 0 else 1.2 - scale} for id in range(2)]}
        request = urllib.request.Request(f"{engine.url}/completion", json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return [one["tokens"] for one in json.load(answer)]

    right, wrong = {scale: ask(scale, False) for scale in (0.0, 1.2)}, 0
    for scale in (0.0, 1.2) * 3:
        wrong += sum(a != b for a, b in zip(ask(scale, True), right[scale]))
    print(f"\nwith `cache_prompt`, {wrong} of {6 * len(prompts)} answers came from other scales; we ask without it")


def llama_cpp(llama, root, rounds, budget):
    """A search over scales of adapters, on llama.cpp's server."""
    family = root / "recipes/sansu"
    with tempfile.TemporaryDirectory() as there:
        there = Path(there)
        names = ["ja", "math-a", "math-b"]
        # In 32 bits, as llama.cpp adds: an adapter on a base in 16 bits is rounded by us.
        (there / "wide.yaml").write_text(f"merge_method: passthrough\nmodels: [{{model: {family / 'base'}}}]\ndtype: float32\n")
        base = there / "base"
        run("merge", there / "wide.yaml", "-o", base)
        converted(llama, "convert_hf_to_gguf.py", base, "--outtype", "f32", "--outfile", there / "base.gguf")
        for name in names:
            adapter(base, family / name, there / name)
            converted(llama, "convert_lora_to_gguf.py", "--base", base, "--outtype", "f32",
                      "--outfile", there / f"{name}.gguf", there / name)
            (there / f"only-{name}.yaml").write_text(f"""merge_method: task_arithmetic
base_model: {base}
models: [{{model: {base}+{there / name}, parameters: {{weight: 1}}}}]
dtype: float32
""")
        models = "".join(f"- {{model: {base}+{there / name}, parameters: {{weight: {{search: [0.0, 1.5]}}}}}}\n"
                         for name in names)
        task = family / "tasks/mgsm-ja-mini.yaml"
        (there / "search.yaml").write_text(f"""merge_method: task_arithmetic
base_model: {base}
models:
{models}dtype: bfloat16
search:
  budget: {budget}
  seed: 1
  optimizer: {{name: cma_es, sigma: 0.2}}
  objective: [{{task: {task}, items: 30}}]
""")
        engine = Engine("llama.cpp", [
            llama / "build/bin/llama-server", "-m", there / "base.gguf", "--lora", ",".join(str(there / f"{name}.gguf") for name in names),
            "-c", 16 * 512, "-np", 16])
        try:
            parents(engine, [there / f"only-{name}.yaml" for name in names], [task], 500)
            lines = (family / "tasks/mgsm-ja-mini.test.jsonl").read_text().splitlines()[:60]
            cached(engine, [json.loads(line)["question"] for line in lines])
            print("\n## A search over three scales\n")
            result, seconds = search(engine, there / "search.yaml", there / "out", ["--budget", budget])
            print(f"\nwinner {100 * result['winner']['scores']['mgsm-ja-mini']['value']:.1f}%, {seconds:.0f} s")
            killed(engine, there / "search.yaml", rounds, min(budget, 600))
        finally:
            engine.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vllm")
    parser.add_argument("root", type=Path)
    parser.add_argument("--smollm2", type=Path, metavar="DIR", help="SmolLM2-135M in bf16, as smollm2.py writes it")
    parser.add_argument("--llama-cpp", type=Path, metavar="DIR", help="source of llama.cpp, built in DIR/build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=24000)
    args = parser.parse_args()
    family = args.root / "recipes/sansu"
    if args.llama_cpp:
        llama_cpp(args.llama_cpp, args.root, args.rounds, min(args.budget, 1200))
        return
    engine = vllm_engine(args.vllm, family / "base", "float32")
    try:
        tasks = [family / "tasks" / f"{name}.yaml" for name in ("mgsm-ja-mini", "ja-solution-mini")]
        parents(engine, [family / name for name in ("base", "ja", "math-a", "math-b")], tasks, 800)
        ten_times(engine, family)
        print("\n## The bundled search\n")
        with tempfile.TemporaryDirectory() as there:
            result, seconds = search(engine, family / "search.yaml", Path(there) / "out", ["--budget", args.budget])
            score = result["winner"]["scores"]["mgsm-ja-mini"]
            print(f"\nwinner {100 * score['value']:.1f}% on {score['n']} items, {seconds:.0f} s")
        killed(engine, family / "search.yaml", args.rounds, min(args.budget, 1200))
    finally:
        engine.kill()
    if args.smollm2:
        smollm2(args.vllm, args.root, args.smollm2)


main()
