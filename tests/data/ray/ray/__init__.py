"""A double of the module ray, for tests: actors are threads of this process. Variables of the environment make it fail:

FAKE_RAY_VERSION=3.1.0       is its version.
FAKE_RAY_REFUSES=TEXT        `init` fails with this.
FAKE_RAY_FREE=2              So many actors have resources; others wait until one of them ends.
FAKE_RAY_NODE_DIES=SECONDS   The first actor's node dies so long after it was asked for."""

import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from types import SimpleNamespace

__version__ = os.environ.get("FAKE_RAY_VERSION", "2.60.0")
FREE = int(os.environ.get("FAKE_RAY_FREE", 1000))
NODE_DIES = os.environ.get("FAKE_RAY_NODE_DIES")
actors, lock = [], threading.RLock()


class Actor:
    def __init__(self, kind, *args):
        self.kind, self.args, self.made, self.error, self.calls = kind, args, None, None, []
        self.begins, self.threads = threading.Event(), (ThreadPoolExecutor(1), ThreadPoolExecutor(3))
        with lock:
            actors.append(self)
            if NODE_DIES and len(actors) == 1:
                threading.Timer(float(NODE_DIES), kill, [self, "The actor died because its node has died."]).start()
        place()

    def __getattr__(self, name):
        is_beside = getattr(getattr(self.kind, name), "is_beside", False)
        return SimpleNamespace(remote=partial(self.call, self.threads[is_beside], name))

    def call(self, thread, name, *args):
        call = Future()
        with lock:
            self.calls.append(call)
        thread.submit(self.answer, call, name, args)
        return call

    def answer(self, call, name, args):
        self.begins.wait()
        try:
            told = self.error or getattr(self.made, name)(*args)
        except Exception as error:
            told = error
        told = self.error or told
        with lock:
            if not call.done():
                call.set_exception(told) if isinstance(told, Exception) else call.set_result(told)


def place():
    """Begins actors that wait, in their order, while there are resources."""
    with lock:
        for actor in [actor for actor in actors if not actor.made and not actor.error]:
            if sum(other.made is not None and not other.error for other in actors) < FREE:
                actor.made = actor.kind(*actor.args)
                actor.begins.set()


def kill(actor, why="The actor is dead because it was killed by `ray.kill`."):
    with lock:
        if actor.error:
            return
        actor.error = RuntimeError(f"The actor died unexpectedly.\n\tclass_name: {actor.kind.__name__}\n\tip: 10.0.0.1\n{why}")
        if actor.made and actor.made.process.poll() is None:
            os.killpg(actor.made.process.pid, signal.SIGKILL)
        for call in actor.calls:
            if not call.done():
                call.set_exception(actor.error)
        actor.begins.set()
    place()


def init(address, namespace, log_to_driver):
    print("Ray says something on stdout")
    if "FAKE_RAY_REFUSES" in os.environ:
        raise ConnectionError(os.environ["FAKE_RAY_REFUSES"])


def remote(*, num_cpus, resources, max_restarts, scheduling_strategy, concurrency_groups, num_gpus=0, memory=0):
    return lambda kind: SimpleNamespace(remote=partial(Actor, kind))


def method(concurrency_group):
    return lambda function: setattr(function, "is_beside", True) or function


def wait(calls, timeout):
    done = wait_for(calls, timeout, FIRST_COMPLETED).done
    return [call for call in calls if call in done][:1], [call for call in calls if call not in done]


def get(call):
    return call.result()


def nodes():
    return [{"Alive": True}, {"Alive": True}, {"Alive": False}]


def available_resources():
    return {}


def shutdown():
    for actor in actors:
        kill(actor)
