"""Runs the bundled search through workers of a real launcher, kills what it can, and compares the bytes of the result.

    python3 benches/peers/clusters.py local|slurm|ray [--budget N] [--kills N]

EVOMERGE names the program. machines.sh --slurm and --ray call it with a real cluster; `local` needs none."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVOMERGE = os.environ["EVOMERGE"]
FILES = ["best.yaml", "result.json", "model/model.safetensors"]


def processes(*words):
    """Processes whose command line has all of these words."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if all(word in line for word in words) and int(place.name) != os.getpid():
            yield int(place.name)


class Nodes:
    """A Ray cluster of two nodes on this machine."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        os.chdir("/")
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        self.second = self.cluster.add_node(num_cpus=2)
        self.address = self.cluster.address

    def kill_second(self):
        """Kills the second node's raylet, and adds another node."""
        self.second.all_processes["raylet"][0].process.kill()
        self.second.all_processes["raylet"][0].process.wait()  # A zombie seems to live.
        self.second = self.cluster.add_node(num_cpus=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carrier", choices=["local", "slurm", "ray"])
    parser.add_argument("--budget", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    nodes = Nodes() if args.carrier == "ray" else None
    carriers = {"local": ["--launch", "exec"], "slurm": ["--launch", "srun -n1"]}
    more = carriers.get(args.carrier) or ["--ray", nodes.address, "--per-worker", "CPU: 1", "--python", sys.executable]
    search = [EVOMERGE, "search", ROOT / "recipes/sansu/search.yaml", "--budget", str(args.budget)]
    random.seed(1)

    with tempfile.TemporaryDirectory() as there:
        bytes_of = lambda name: [(Path(there) / name / file).read_bytes() for file in FILES]
        log = open(Path(there) / "log", "a")
        start = lambda name, more: subprocess.Popen([*search, "-o", Path(there) / name, *more], stdout=log, stderr=log)

        def finish(name, more):
            began = time.perf_counter()
            if start(name, more).wait():
                sys.exit(Path(log.name).read_text()[-3000:])
            return time.perf_counter() - began

        more += ["--workers", str(args.workers)]
        print(f"one process: {finish('own', []):.0f} s")
        print(f"{args.workers} workers by {args.carrier}: {finish('workers', more):.0f} s")
        assert bytes_of("workers") == bytes_of("own"), "the bytes differ"
        print("the bytes are the same")

        killed, finished, running = {}, 0, start("killed", more)
        while sum(killed.values()) < args.kills:
            time.sleep(random.uniform(0.2, 1.5))
            if running.poll() is not None:
                if running.returncode == 0:
                    assert bytes_of("killed") == bytes_of("own"), "the bytes differ after kills"
                    finished += 1
                    shutil.rmtree(Path(there) / "killed")
                elif running.returncode > 0:
                    sys.exit(Path(log.name).read_text()[-3000:])
                running = start("killed", more)
                continue
            targets = {
                "workers": processes(EVOMERGE + " work"),
                "drivers": processes("Runs the workers of a search as Ray actors", nodes.address) if nodes else [],
                "actors": processes("ray::Process") if nodes else [],
                "nodes": [0] if nodes and random.random() < 0.2 else [],
                "searches": [running.pid] if random.random() < 0.3 else [],
            }
            targets = {what: [*found] for what, found in targets.items()}
            what = random.choice([what for what, found in targets.items() if found] or ["nothing"])
            if what == "nothing":
                continue
            if what == "nodes":
                nodes.kill_second()
            else:
                os.kill(random.choice(targets[what]), signal.SIGKILL)
            killed[what] = killed.get(what, 0) + 1
        running.wait()
        finish("killed", more)
        assert bytes_of("killed") == bytes_of("own"), "the bytes differ after kills"
        print(f"kill -9 of {', '.join(f'{n} {what}' for what, n in killed.items())}: "
              f"{finished + 1} searches, each with the same bytes")
    if nodes:
        nodes.cluster.shutdown()


main()
