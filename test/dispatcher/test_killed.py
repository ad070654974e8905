"""200 evaluations whose tasks and processes are ended at random moments: no pod without an owner, none on the host."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from case import PATIENCE, ApiCase
from cluster_objects import pod, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import Dispatcher, Policy, Settings
from kubernetes import client

COUNT = 200
NAMES = [f"eval-{at}" for at in range(COUNT)]
# Under anyio: each evaluation in a scope that ends it at a random moment. Some are then given up, some tried again. No
# node takes every second one.
TASKS = """
import anyio, json, random, sys
from kubernetes import client
from gvisor_dispatch import AsyncDispatcher, Policy
url, count, left = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
names = [f"eval-{at}" for at in range(count)]
def say(what, name):
    print(what, name, flush=True)
async def evaluate(dispatcher, room, name):
    made = {"metadata": {"name": name, "namespace": "evals"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with room:
        seconds = (0.01, 0.05, 0.2, 0.5) if name in names[1::2] else (0.01, 0.05, 0.2, 0.5, 60)
        while True:
            with anyio.move_on_after(random.choice(seconds)):
                await dispatcher.dispatch(made, Policy.WAIT)
                return say("started", name)
            if random.random() < 0.5:
                return say("ended", name)
async def main():
    room = anyio.Semaphore(20)
    async with AsyncDispatcher(client.ApiClient(client.Configuration(host=url))) as dispatcher:
        async with anyio.create_task_group() as group:
            for name in left:
                group.start_soon(evaluate, dispatcher, room, name)
anyio.run(main)
"""


def evaluate(url: str, name: str) -> str:
    """Some processes are killed, and the pool then ends all others."""
    chance = random.SystemRandom()
    if chance.random() < 0.04:
        threading.Timer(chance.random(), os.kill, (os.getpid(), signal.SIGKILL)).start()
    api = client.ApiClient(client.Configuration(host=url))
    with Dispatcher(api, Settings()) as dispatcher:
        return dispatcher.dispatch(pod(name), Policy.PREFER).name


def takes_a_moment(api: FakeApi, name: str) -> None:
    time.sleep(random.random() / 2)
    runs(api, name)


def each_moment(act: Callable[[], object], until: threading.Event, longest: float) -> threading.Thread:
    """Acts after random times, until the event."""

    def repeat() -> None:
        while not until.wait(random.random() * longest):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    return thread


class KilledTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.kubelet = takes_a_moment
        self.done = threading.Event()
        faults = each_moment(self.fail_for_a_moment, self.done, 0.5)
        self.addCleanup(faults.join)
        self.addCleanup(self.done.set)

    def fail_for_a_moment(self) -> None:
        """A request may take effect all the same."""
        self.api.fail("", r"/pods(/[^?]*)?$", random.choice((0, 503)), times=5, late=True)
        time.sleep(0.05)
        self.api.faults.clear()

    def test_tasks_under_anyio(self) -> None:
        self.api.kubelet = lambda api, name: (unschedulable if name in NAMES[1::2] else takes_a_moment)(api, name)
        said: dict[str, str] = {}
        killed = 0
        while left := [name for name in NAMES if name not in said]:
            command = [sys.executable, "-B", "-c", TASKS, self.api.url, str(COUNT)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with subprocess.Popen(command, text=True, **pipes) as running:  # type: ignore[call-overload]
                if killed < 4:
                    kind = signal.SIGKILL if killed % 2 else signal.SIGINT
                    threading.Timer(2 + random.random() * 2, running.send_signal, (kind,)).start()
                    killed += 1
                out, _ = running.communicate(json.dumps(left), timeout=400 * PATIENCE)
            said |= {name: what for what, name in (line.split() for line in out.splitlines())}
            if running.returncode == -signal.SIGKILL:
                for name in NAMES[1::2]:  # nothing else removes what a process leaves that is killed
                    if name not in said:
                        self.dispatcher(remove_deadline=60, api_deadline=60).cancel(pod(name))
        self.assertEqual(set(said), set(NAMES))
        self.assertLessEqual({name for name, what in said.items() if what == "started"}, set(self.api.pods))
        self.assertEqual((set(self.api.pods) & set(NAMES[1::2]), self.on_host()), (set(), []))

    def test_a_process_pool(self) -> None:
        started: set[str] = set()
        rounds = 0
        while left := [name for name in NAMES if name not in started]:
            with ProcessPoolExecutor(8, multiprocessing.get_context("fork")) as processes:
                calls: list[Future[str]] = [processes.submit(evaluate, self.api.url, name) for name in left]
                for call in calls:
                    with contextlib.suppress(BrokenProcessPool):
                        started.add(call.result(400 * PATIENCE))
            rounds += 1
        self.assertGreater(rounds, 1)
        self.assertEqual((started, set(self.api.pods)), (set(NAMES), set(NAMES)))
        self.assertEqual(self.on_host(), [])
