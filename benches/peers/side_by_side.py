"""Runs the recipes of a directory with evomerge and with mergekit, in turn, and prints what each took.

Time is from start to end of the command, CPU that of all its threads in programs and kernel. Memory is the process's own,
looked at every 20 ms: mapped inputs are the page cache's. Medians over the runs, but the most of memory.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def measure(command, cwd):
    """Seconds, seconds of processors, bytes of its own."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        most, ended = [0], threading.Event()

        def watch():
            while not ended.wait(0.02):
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                except OSError:
                    return
                own = [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:")]
                most[0] = max(most[0], *own, 0)

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        ended.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            # Ours says what is wrong first, Python last.
            wrong = next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "")
            raise RuntimeError(wrong or f"exit code {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, most[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evomerge", type=Path, required=True)
    parser.add_argument("--mergekit", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="where models and recipes are, and merges are written")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("methods", nargs="*", help="only these")
    args = parser.parse_args()

    methods = args.methods or sorted(recipe.stem for recipe in args.models.glob("*.yaml"))
    for file in args.models.glob("*/*.safetensors"):
        with open(file, "rb") as model:
            while model.read(1 << 24):
                pass

    print(f"{os.cpu_count()} processors, models of {args.models}, {args.runs} runs in turn, inputs in the page cache")
    print()
    print("|                 |        evomerge        |  without sync and hashes |           mergekit       |   ratio    |")
    print("| method          | wall s | CPU s | own MB | wall s |  CPU s | own MB | wall s |  CPU s |  own MB | wall |  CPU |")
    print("|-----------------|-------:|------:|-------:|-------:|-------:|-------:|-------:|-------:|--------:|-----:|-----:|")
    failed = False
    with tempfile.TemporaryDirectory(dir=args.models) as scratch:
        output = Path(scratch) / "merged"
        for method in methods:
            recipe = f"{method}.yaml"
            ours = [args.evomerge, "merge", recipe, "-o", output]
            # A model's card asks the hub about every input; the models have no tokenizer.
            theirs = [args.mergekit, recipe, output, "--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
            programs = [ours, [*ours, "--no-sync", "--no-hash"], theirs]
            runs = [[] for _ in programs]
            try:
                for _ in range(args.runs):
                    for program, took in zip(programs, runs):
                        shutil.rmtree(output, ignore_errors=True)
                        # Nothing is on its way to the device: every run begins alike.
                        subprocess.run(["sync", "-f", scratch], check=True)
                        took.append(measure(program, args.models))
            except RuntimeError as e:
                print(f"| {method:15} | {e} |", flush=True)
                failed = True
                continue
            whole, bare, peer = [
                (statistics.median(r[0] for r in took), statistics.median(r[1] for r in took), max(r[2] for r in took) / 1e6)
                for took in runs
            ]
            print(
                f"| {method:15} | {whole[0]:6.2f} | {whole[1]:5.1f} | {whole[2]:6.0f} "
                f"| {bare[0]:6.2f} | {bare[1]:6.1f} | {bare[2]:6.0f} "
                f"| {peer[0]:6.1f} | {peer[1]:6.1f} | {peer[2]:7.0f} | {peer[0] / bare[0]:4.0f} | {peer[1] / bare[1]:4.0f} |",
                flush=True,
            )
    print()
    print("ratio: mergekit's, which neither syncs nor hashes, to ours without both")
    sys.exit(failed)


if __name__ == "__main__":
    main()
