"""The recipe for Celery with the real library: prefork, its limits, and a broker on the file system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from case import ApiCase
from cluster_objects import cannot_pull, pod, runs, unschedulable
from fake_api import FakeApi

RECIPES = Path(__file__).parents[2] / "dispatcher/recipes"
# The recipe as it is, with a broker that needs no server, and limits that a test can wait for.
APP = """
import json, os
import worker
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

    def worker(self, concurrency: int = 2, **limits: float) -> subprocess.Popen[bytes]:
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
        subprocess.run(command, env=self.env, input=json.dumps(calls), text=True, check=True, timeout=300)

    def results(self) -> dict[str, Any]:
        found = [json.loads(path.read_text()) for path in (self.folder / "results").iterdir() if path.stat().st_size]
        return {one["task_id"]: one for one in found if one["status"] in ("SUCCESS", "FAILURE")}

    def until_ended(self, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 300
        while len(found := self.results()) < count:
            self.assertLess(time.monotonic(), end, (self.folder / "log").read_text()[-3000:])
            time.sleep(0.1)
        return list(found.values())

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
        while "Retry in 60s: RetryLaterError('Unschedulable'" not in (self.folder / "log").read_text():
            time.sleep(0.1)
        self.assertEqual(self.api.pods, {})

    def test_the_hard_limit_and_a_worker_that_is_killed_leave_the_pod_to_the_next_delivery(self) -> None:
        def kill_children(running: subprocess.Popen[bytes]) -> None:
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)

        for title, limits in (("hard limit", {"soft_time_limit": 60, "time_limit": 3}), ("killed", {})):
            with self.subTest(title), FakeApi() as self.api:
                self.tearDown()
                self.setUp()
                self.api.kubelet = unschedulable
                running = self.worker(**limits)
                self.send("a")
                while not self.api.requests("watch="):
                    time.sleep(0.01)
                if title == "killed":
                    kill_children(running)
                while len(self.api.requests("GET /api/v1/namespaces/evals/pods/a$")) < 3:
                    time.sleep(0.01)
                runs(self.api, "a")
                end = time.monotonic() + 120
                while not any(one["status"] == "SUCCESS" for one in self.results().values()):
                    self.assertLess(time.monotonic(), end, (self.folder / "log").read_text()[-3000:])
                    time.sleep(0.1)
                self.assertEqual((list(self.api.pods), len(self.api.created)), (["a"], 1))
                self.end(running)
