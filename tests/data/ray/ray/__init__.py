"""A double of the module ray, for tests: actors are threads of this process. Variables of the environment make it fail:

FAKE_RAY_VERSION=3.1.0      is its version.
FAKE_RAY_REFUSES=TEXT       `init` fails with this.
FAKE_RAY_FREE=2             So many actors have resources; others wait until one of them ends.
FAKE_RAY_NODE_DIES=SECONDS  The first actor's node dies so long after it was asked for."""

import contextlib
import os
import signal
import threading
import time
from concurrent import futures
from functools import partial
from types import SimpleNamespace

__version__ = os.environ.get("FAKE_RAY_VERSION", "2.60.0")
FREE = int(os.environ.get("FAKE_RAY_FREE", 99))
actors, lock = [], threading.Lock()


class Actor:
    def __init__(self, kind, *args):
        self.kind, self.made, self.error, self.begun = kind, None, None, threading.Event()
        self.threads = futures.ThreadPoolExecutor(1), futures.ThreadPoolExecutor(3)
        actors.append(self)
        threading.Thread(target=self.begin, args=args, daemon=True).start()
        if actors == [self] and "FAKE_RAY_NODE_DIES" in os.environ:
            dies = partial(kill, self, "The actor died because its node has died.")
            threading.Timer(float(os.environ["FAKE_RAY_NODE_DIES"]), dies).start()

    def begin(self, *args):
        while not self.made and not self.error:
            with lock:
                if sum(bool(actor.made and not actor.error) for actor in actors) < FREE:
                    self.made = None if self.error else self.kind(*args)
            time.sleep(0.01)
        self.begun.set()

    def __getattr__(self, name):
        is_beside = getattr(getattr(self.kind, name), "is_beside", False)
        return SimpleNamespace(remote=partial(self.threads[is_beside].submit, self.call, name))

    def call(self, name, *args):
        self.begun.wait()
        told = None if self.error else getattr(self.made, name)(*args)
        if self.error:
            raise self.error
        return told


def kill(actor, why="The actor is dead because it was killed by `ray.kill`."):
    with lock:
        actor.error = actor.error or RuntimeError(f"The actor died.\n\tclass_name: Process\n\tip: 10.0.0.1\n{why}")
        if actor.made and actor.made.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(actor.made.process.pid, signal.SIGKILL)


def init(address, namespace, log_to_driver):
    print("Ray says something on stdout")
    if "FAKE_RAY_REFUSES" in os.environ:
        raise ConnectionError(os.environ["FAKE_RAY_REFUSES"])


def remote(*, num_cpus, resources, max_restarts, scheduling_strategy, concurrency_groups, num_gpus=0, memory=0):
    return lambda kind: SimpleNamespace(remote=partial(Actor, kind))


def wait(calls, timeout):
    done = futures.wait(calls, timeout, futures.FIRST_COMPLETED).done
    return [call for call in calls if call in done][:1], None


get = futures.Future.result
method = lambda concurrency_group: lambda function: setattr(function, "is_beside", True) or function
nodes = lambda: [{"Alive": True}, {"Alive": True}, {"Alive": False}]
available_resources = dict
shutdown = lambda: [kill(actor) for actor in actors]
