"""Runs the workers of a search as Ray actors. To be run in /: Python and Ray import what lies where this runs.

Reads start N, line N TEXT and end N, for worker N. Writes ray VERSION NODES, or no REASON if Ray is of no use; then
line N TEXT or err N TEXT, what a worker writes, and one end N REASON for each start N."""

import contextlib, json, os, signal, sys, threading, time
from subprocess import PIPE, Popen

ENDING = 5  # Seconds that a worker has to end by itself after its input has ended.
NAMED = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}  # Resources that Ray takes by other names.
workers, silent = {}, {}  # Each one's actor and open calls; when to say that it waits, of those that never spoke.
out, writing = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", newline="\n"), threading.Lock()
os.dup2(2, 1)  # Whatever Ray prints goes to stderr.
signal.signal(signal.SIGINT, signal.SIG_IGN)  # The search gets it, too, and ends the input.


class Process:
    """The actor: a worker's process. Calls of `put` come one after another; those of `hear` wait beside them."""

    def __init__(self, command):
        command = ["sh", "-c", 'exec "$0" "$@"', *command]  # If there is no such command, the shell says so on stderr.
        self.process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)

    def put(self, line):
        if not line:  # The input ends.
            threading.Timer(ENDING, self.process.kill).start()
        with contextlib.suppress(OSError, ValueError):  # If the process has ended, `hear` tells.
            self.process.stdin.write(line)
            self.process.stdin.flush() if line else self.process.stdin.close()

    def hear(self, kind):
        if kind != "end":
            pipe = self.process.stdout if kind == "line" else self.process.stderr
            lines = pipe.read1(1 << 16)  # What there is; nothing at the pipe's end.
            return (lines if lines.endswith(b"\n") else lines + pipe.readline(64 << 20)).decode("utf-8", "replace")
        code = self.process.wait()
        with contextlib.suppress(OSError):  # What it has started may hold its pipes.
            os.killpg(self.process.pid, signal.SIGKILL)
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def follow(number, actor, calls, reason=""):  # Passes on what a worker writes until it has ended, and then why.
    try:
        calls.update({actor.hear.remote(kind): kind for kind in ("line", "err", "end")})
        while calls:
            for call in ray.wait(list(calls), timeout=0.5)[0]:
                kind, told, _ = calls.pop(call), ray.get(call), silent.pop(number, None)
                if kind == "end":
                    reason = told
                    threading.Timer(ENDING, ray.kill, [actor]).start()  # Somebody may hold a pipe for ever.
                elif told:
                    for line in told.removesuffix("\n").split("\n"):
                        say(kind, number, line)
                    calls[actor.hear.remote(kind)] = kind
            if time.monotonic() > silent.get(number, float("inf")):
                silent[number], free = float("inf"), ray.available_resources()
                say("err", number, f"waits for {asked}: free are {({name: free.get(name, 0) for name in asked})}")
    except Exception as error:
        reason = reason or str(error).rpartition("\n\t")[2]  # Ray's numbers of the actor come before.
    if "owner has died" in reason:
        leave("the Ray node that this is connected to has died")
    if workers.pop(number, None):
        say("end", number, *reason.split()[:60])
    ray.kill(actor)


def orders():
    yield from sys.stdin.buffer
    yield from [b"end %d" % number for number in list(workers)]  # The search has ended.


def say(*words):
    with writing, contextlib.suppress(OSError):  # If the search is gone, the input ends, too.
        print(*words, file=out, flush=True)


def leave(why):
    while workers:
        say("end", workers.popitem()[0])
    say("no", *why.split()[:60])
    os._exit(1)


address, asked, command = (json.loads(sys.argv[1])[key] for key in ("address", "resources", "command"))
address = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
doing = f"cannot connect to {address}"
try:
    import ray

    if ray.__version__.split(".")[0] != "2":
        leave(f"Ray {ray.__version__} is of another major version: 2 is needed")
    if address.split(":")[0] in ("", "local"):
        leave(f"{doing}: that would start a cluster")
    limit = threading.Timer(60, leave, [f"{doing}: no answer for 60 s"])  # Ray tries for a quarter of an hour.
    limit.start()
    ray.init(address, namespace="evomerge", log_to_driver=False)
    limit.cancel()
    say("ray", ray.__version__, sum(node["Alive"] for node in ray.nodes()))
    doing, options = "Ray fails", {"num_cpus": 0, **{NAMED[name]: asked[name] for name in asked if name in NAMED}}
    options["resources"] = {name: asked[name] for name in asked if name not in NAMED}
    Process.hear = ray.method(concurrency_group="wait")(Process.hear)
    start = ray.remote(**options, max_restarts=0, scheduling_strategy="SPREAD", concurrency_groups={"wait": 3})(Process)
    for order in orders():
        kind, number, *line = order.split(b" ", 2)
        number, (actor, calls) = int(number), workers.get(int(number), (None, None))
        if kind == b"start" and not actor:
            silent[number], workers[number] = time.monotonic() + 5, (start.remote(command), {})
            threading.Thread(target=follow, args=(number, *workers[number]), daemon=True).start()
        elif kind != b"start" and actor:
            calls[actor.put.remote(b"".join(line))] = "put"
            if kind == b"end":  # If it has never spoken, it may wait for resources.
                threading.Timer(0 if number in silent else ENDING + 2, ray.kill, [actor]).start()
    while workers:
        time.sleep(0.02)
    ray.shutdown()
except Exception as error:
    is_missing = isinstance(error, ImportError) and error.name == "ray"
    leave("the Python module ray is missing" if is_missing else f"{doing}: {error}")
os._exit(0)  # Without the timers.
