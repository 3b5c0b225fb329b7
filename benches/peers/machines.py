"""Measures how well a search keeps many workers busy: processes that sleep for each item stand for GPUs.

    python3 benches/peers/machines.py [--item SECONDS] [--load SECONDS] [--budget N]

EVOMERGE names the program; by default it is target/release/evomerge, which must be built."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def work(load, seconds):
    """A worker whose scores are drawn from the candidate and the item, each after some time."""
    say = lambda reply: print(json.dumps(reply), flush=True)
    version = subprocess.run([os.environ["EVOMERGE"], "--version"], capture_output=True, text=True).stdout.split()[1]
    say({"hello": {"protocol": 2, "version": version, "machine": "asleep", "processor": "none"}})
    loaded = None
    for line in sys.stdin:
        order = json.loads(line)
        if "study" in order:
            say({"ready": {}})
        elif "score" in order:
            candidate, items = json.dumps(order["score"]["candidate"]), order["score"]["items"]["items"]
            time.sleep(seconds * len(items) + load * (candidate != loaded))
            loaded = candidate
            drawn = [hashlib.sha256((candidate + item).encode()).digest()[0] > 127 for item in items]
            health = [{"illness": None, "is_text": False}]
            say({"scores": [{"item": item, "score": {"score": [float(n), 10, False]}, "answers": health}
                            for item, n in zip(items, drawn)]})


def measure(workers, load, seconds, budget):
    """Items, seconds in all, and the share of them in which the workers scored items."""
    with tempfile.TemporaryDirectory() as there:
        launcher = f"{sys.executable} {__file__} --load {load} --work {seconds} #"
        command = [os.environ["EVOMERGE"], "search", ROOT / "recipes/sansu/search.yaml", "-o", there, "--budget", budget,
                   "--workers", workers, "--launch", launcher]
        began = time.perf_counter()
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        took = time.perf_counter() - began
        if done.returncode:
            sys.exit(done.stderr)
        items = sum(int(n) for n in re.findall(r"^worker \d+ on asleep: [\d,]+ candidates?, (\d+) items?", done.stderr, re.M))
        return items, took, items * seconds / (workers * took)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--item", type=float, default=0.02, help="seconds that an item takes (0.02)")
    parser.add_argument("--load", type=float, default=0, help="seconds that the loading of a candidate takes (0)")
    parser.add_argument("--budget", type=int, default=24000)
    args = parser.parse_args()
    os.environ.setdefault("EVOMERGE", str(ROOT / "target/release/evomerge"))
    if args.work is not None:
        return work(args.load, args.work)
    print("| workers | items | seconds | busy |\n|---:|---:|---:|---:|")
    for workers in (8, 32):
        items, took, busy = measure(workers, args.load, args.item, args.budget)
        print(f"| {workers} | {items} | {took:.0f} | {100 * busy:.0f}% |")
    items, took, _ = measure(1, 0, 0, 3000)
    print(f"\nwith items that take no time, one worker: {1000 * took / items:.2f} ms an item")


main()
