"""The recipe for Celery with the real library: prefork, its limits, and a broker on the file system."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from case import PATIENCE, ApiCase
from cluster_objects import cannot_pull, pod, runs, unschedulable
from fake_api import FakeApi

RECIPES = Path(__file__).parents[2] / "dispatcher/recipes"
# The recipe as it is, with a broker that needs no server, and limits that a test can wait for.
APP = """
import json, os, random, signal, threading
import worker
from billiard import pool
from celery.signals import task_postrun, task_prerun
from gvisor_dispatch import Dispatcher, Settings
from kubernetes import client
from pathlib import Path
folder = Path(os.environ["FOLDER"])
app = worker.app
app.conf.update(
    broker_transport_options={"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder / "c"},
    result_backend=f"file://{folder / 'results'}",
    worker_prefetch_multiplier=1,
    worker_proc_alive_timeout=60,
)
for name, value in json.loads(os.environ["LIMITS"]).items():
    setattr(worker.run, name, value)
if deadline := os.environ.get("WAIT_DEADLINE"):
    worker.dispatcher = Dispatcher(client.ApiClient(), Settings(wait_deadline=float(deadline)))
# At the hard limit SIGKILL follows 0.1 s after SIGTERM. It can hit a process that reports its end with the lock of the
# pool's results, and then no process of the pool works any more.
pool._kill = lambda pid, kind: kind == signal.SIGKILL or os.kill(pid, kind)
# Only while it has a task: without a broker of asyncio, a process that is killed while it waits for one stops the pool.
timers, chance = [], random.SystemRandom()
@task_prerun.connect
def kill_some(**_):
    if chance.random() < float(os.environ.get("KILLED_SHARE", 0)):
        timers.append(threading.Timer(chance.random(), os.kill, (os.getpid(), signal.SIGKILL)))
        timers[-1].start()
@task_postrun.connect
def spare(**_):
    while timers:
        timers.pop().cancel()
"""


class CeleryTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("c", "results"):
            (self.folder / name).mkdir()
        (self.folder / "recipe_app.py").write_text(APP)
        named = {"name": "it"}
        kubeconfig = {
            "current-context": "it",
            "clusters": [{**named, "cluster": {"server": self.api.url}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "it", "user": "it"}}],
        }
        (self.folder / "kubeconfig").write_text(json.dumps(kubeconfig))

    def worker(self, concurrency: int = 2, **limits: float | None) -> subprocess.Popen[bytes]:
        """A worker in a session of its own, which the test ends."""
        env = {
            **os.environ,
            "PYTHONPATH": ":".join((str(self.folder), str(RECIPES), *sys.path)),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "BROKER": "filesystem://",
            "FOLDER": str(self.folder),
            "LIMITS": json.dumps(limits),
        }
        self.env = env
        command = [sys.executable, "-B", "-m", "celery", "-A", "recipe_app", "worker", "-l", "INFO"]
        options = ["--concurrency", str(concurrency), "--without-gossip", "--without-mingle", "--without-heartbeat"]
        log = self.enterContext((self.folder / "log").open("ab"))
        running = subprocess.Popen([*command, *options], env=env, stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(self.end, running)
        return running

    @staticmethod
    def end(running: subprocess.Popen[bytes]) -> None:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    def send(self, *names: str) -> None:
        calls = [(name, pod(name)) for name in names]
        script = "import json, sys, recipe_app, worker\nfor one in json.load(sys.stdin): worker.run.delay(*one)"
        command = [sys.executable, "-B", "-c", script]
        subprocess.run(command, env=self.env, input=json.dumps(calls), text=True, check=True, timeout=300 * PATIENCE)

    def results(self) -> dict[str, Any]:
        found = [json.loads(path.read_text()) for path in (self.folder / "results").iterdir() if path.stat().st_size]
        return {one["task_id"]: one for one in found if one["status"] in ("SUCCESS", "FAILURE")}

    def until(self, holds: Callable[[], object], seconds: float = 300) -> None:
        """Waits; a wait in vain fails with the end of the worker's log."""
        end = time.monotonic() + seconds * PATIENCE
        while not holds():
            if time.monotonic() > end:
                self.fail(self.log()[-3000:])
            time.sleep(0.1)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def until_ended(self, count: int) -> list[dict[str, Any]]:
        self.until(lambda: len(self.results()) >= count)
        return list(self.results().values())

    def test_each_evaluation_starts_once_and_is_in_gvisor(self) -> None:
        self.worker()
        self.send("a", "b", "c")
        found = self.until_ended(3)
        self.assertEqual({one["result"]["name"] for one in found if one["result"]["in_gvisor"]}, {"a", "b", "c"})

    def test_the_soft_limit_leaves_no_pod(self) -> None:
        self.api.kubelet = unschedulable
        self.worker(soft_time_limit=2, time_limit=60)
        self.send("a")
        [found] = self.until_ended(1)
        self.assertEqual((found["status"], found["result"]["exc_type"]), ("FAILURE", "SoftTimeLimitExceeded"))
        self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    def test_what_no_retry_mends_fails_and_the_rest_is_put_back(self) -> None:
        self.api.kubelet = lambda api, name: (cannot_pull if name == "a" else unschedulable)(api, name)
        self.enterContext(mock.patch.dict(os.environ, WAIT_DEADLINE="2"))
        self.worker()
        self.send("a", "b")
        [found] = self.until_ended(1)
        self.assertEqual((found["status"], found["result"]["exc_type"]), ("FAILURE", "PodError"))
        self.assertRegex(" ".join(found["result"]["exc_message"]), "^PodCannotStart InvalidImageName: ")
        self.until(lambda: "Retry in 60s: RetryLaterError('Unschedulable'" in self.log())
        self.assertEqual(self.api.pods, {})

    def test_the_hard_limit_and_a_worker_that_is_killed_leave_the_pod_to_the_next_delivery(self) -> None:
        for title, limits in (("hard limit", {"soft_time_limit": None, "time_limit": 3}), ("killed", {})):
            with self.subTest(title):
                self.setUp()
                self.api.kubelet = unschedulable
                running = self.worker(1, **limits)
                self.send("a")
                self.until(lambda: self.api.requests("watch="))
                if title == "killed":
                    self.kill_child(running)
                watched = len(self.api.requests("watch="))
                self.until(lambda watched=watched: len(self.api.requests("watch=")) > watched)
                self.until(lambda: "received" in self.log_after_end())
                runs(self.api, "a")
                self.until(self.started)
                # At the hard limit a process gets SIGTERM first, and so removes its pod.
                self.assertEqual((list(self.api.pods), len(self.api.created)), (["a"], 2 if limits else 1))
                self.end(running)

    def test_200_with_workers_that_are_killed_have_each_an_owner(self) -> None:
        names = [f"eval-{at}" for at in range(200)]

        def takes_a_moment(api: FakeApi, name: str) -> None:
            time.sleep(random.random())
            runs(api, name)

        self.api.kubelet = takes_a_moment
        self.enterContext(mock.patch.dict(os.environ, KILLED_SHARE="0.1"))
        self.worker(8)
        self.send(*names)
        self.until(lambda: len(self.started()) == len(names), 500)
        self.assertIn("SIGKILL", self.log())
        self.assertEqual((self.started(), set(self.api.pods)), (set(names), set(names)))
        self.assertEqual(self.on_host(), [])

    def log_after_end(self) -> str:
        """What the worker says after a task was lost or ran too long."""
        return re.split("WorkerLostError|Hard time limit", self.log())[-1]

    def started(self) -> set[str]:
        return {one["result"]["name"] for one in self.results().values() if one["status"] == "SUCCESS"}

    @staticmethod
    def kill_child(running: subprocess.Popen[bytes]) -> None:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        if children:
            os.kill(int(random.choice(children)), signal.SIGKILL)
