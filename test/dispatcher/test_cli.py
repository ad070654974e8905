"""The command `gvisor-dispatch` with its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gvisor_dispatch
from case import ApiCase
from cluster_objects import BAD, pod, runs, unschedulable
from gvisor_dispatch.cli import main
from kubernetes.config import kube_config


class CommandTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        named = {"name": "it"}
        config = {
            "current-context": "it",
            "clusters": [{**named, "cluster": {"server": self.api.url}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "it", "user": "it"}}],
        }
        (self.folder / "kubeconfig").write_text(json.dumps(config))
        (self.folder / "pod.yaml").write_text(json.dumps(pod()))

    def run_it(self, *words: str) -> tuple[object, dict[str, Any], str]:
        """In this process, because importing Kubernetes' client takes a second."""
        out, err = io.StringIO(), io.StringIO()
        # The client reads $KUBECONFIG when it is imported.
        kubeconfig = patch.object(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(self.folder / "kubeconfig"))
        said = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
        with contextlib.chdir(self.folder), kubeconfig, said[0], said[1]:
            try:
                code: object = main(words)
            except SystemExit as ended:
                code = ended.code
        logging.root.handlers.clear()
        return code, json.loads(out.getvalue() or "{}"), err.getvalue()

    def test_ask_names_nodes_and_creates_nothing(self) -> None:
        code, said, _ = self.run_it("ask", "--policy", "require")
        self.assertEqual((code, said["in_gvisor"], said["nodes"]), (0, True, ["node-1", "node-2"]))
        self.assertEqual(self.api.created, [])
        code, said, _ = self.run_it("ask", "--policy", "prefer", "--nodes", "1", "pod.yaml")
        self.assertEqual((code, said["nodes"]), (0, ["node-1"]))

    def test_ask_has_an_exit_code_for_each_decision(self) -> None:
        prefer = ["prefer", "--namespace", "evals"]
        for policy, changes, expected in (
            (prefer, {"nodes": [BAD]}, (5, "GVisorFails")),
            (["require"], {}, (3, "GVisorFails")),
            (prefer, {"namespaces": {"evals": {}}}, (3, "GVisorFails")),
            (prefer, {"nodes": []}, (75, "NoReadyNode")),
            (["wait"], {"runtime_class": None}, (3, "RuntimeClassMissing")),
        ):
            vars(self.api).update(changes)
            code, said, _ = self.run_it("ask", "--policy", *policy)
            self.assertEqual((code, said["reason"]), expected, said["message"])

    def test_run_starts_and_adopts(self) -> None:
        code, said, _ = self.run_it("run", "--policy", "require", "pod.yaml")
        self.assertEqual((code, said["in_gvisor"], said["adopted"], said["node"]), (0, True, False, "node-1"))
        self.assertTrue(self.run_it("run", "--policy", "require", "pod.yaml")[1]["adopted"])
        code, said, _ = self.run_it("run", "--policy", "require", "--id", "other", "pod.yaml")
        self.assertEqual((code, said["reason"]), (1, "NameTaken"))

    def test_run_has_an_exit_code_for_each_error(self) -> None:
        self.api.kubelet = unschedulable
        short = ["--policy", "wait", "--wait-deadline", "1", "--remove-deadline", "1", "pod.yaml"]
        self.assertEqual(self.run_it("run", *short)[0], 75)
        self.api.deletes = False
        self.assertEqual(self.run_it("run", *short)[0], 4)
        self.api.fail("GET", "/pods/", 403)
        code, said, _ = self.run_it("run", *short)
        self.assertEqual((code, said["reason"]), (3, "ApiRefused"))
        self.api.faults.clear()
        self.api.fail("POST", "/pods", 422)
        self.api.pods.clear()
        code, said, _ = self.run_it("run", *short)
        self.assertEqual((code, said["reason"]), (65, "PodRefused"))

    def test_explain_has_an_exit_code_for_each_place(self) -> None:
        self.run_it("run", "--policy", "require", "pod.yaml")
        code, said, _ = self.run_it("explain", "eval-1", "-n", "evals")
        self.assertEqual((code, said["reason"], said["node"]), (0, "InGVisor", "node-1"))
        self.assertEqual(self.run_it("explain", "missing", "-n", "evals")[0], 75)
        del self.api.pods["eval-1"]["spec"]["runtimeClassName"]
        self.assertEqual(self.run_it("explain", "eval-1", "-n", "evals")[0], 5)

    def test_a_fallback_is_a_warning(self) -> None:
        self.api.nodes = [BAD]
        command = [sys.executable, "-B", "-m", "gvisor_dispatch", "run", "--policy", "prefer", "pod.yaml"]
        env = {"KUBECONFIG": str(self.folder / "kubeconfig"), "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.folder, check=False)
        self.assertEqual((done.returncode, json.loads(done.stdout)["in_gvisor"]), (0, False))
        self.assertRegex(done.stderr, r"^WARNING evals/eval-1 runs WITHOUT gVisor: GVisorFails: ")

    def test_wrong_usage(self) -> None:
        for words in (["ask"], ["run", "--policy", "prefer"], ["ask", "--policy", "prefer", "--start-deadline", "0"]):
            self.assertEqual(self.run_it(*words)[0], 2)
        for text in ("[]", "a: b: c"):
            (self.folder / "odd.yaml").write_text(text)
            code, _, stderr = self.run_it("run", "--policy", "prefer", "odd.yaml")
            self.assertEqual(code, 2, stderr)
        self.assertEqual(self.run_it("run", "--policy", "prefer", "missing.yaml")[0], 2)
        code, said, _ = self.run_it("run", "--policy", "prefer", "kubeconfig")
        self.assertEqual((code, said["reason"]), (65, "PodRefused"))

    def test_the_version(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out, self.assertRaises(SystemExit):
            main(["--version"])
        self.assertEqual(out.getvalue(), f"{gvisor_dispatch.__version__}\n")

    def test_a_kubeconfig_and_a_context_that_are_named(self) -> None:
        config = json.loads((self.folder / "kubeconfig").read_text())
        config["current-context"] = "gone"
        config["contexts"].append({"name": "gone", "context": {"cluster": "gone", "user": "it"}})
        (self.folder / "other").write_text(json.dumps(config))
        words = ["ask", "--policy", "require", "--kubeconfig", "other"]
        self.assertEqual(self.run_it(*words)[0], 1)
        # In a pod as well, which would otherwise take that of its service account.
        with patch.dict(os.environ, {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}):
            self.assertEqual(self.run_it(*words, "--context", "it")[0], 0)
        code, _, stderr = self.run_it(*words, "--context", "missing")
        self.assertEqual((code, "name missing in" in stderr), (1, True), stderr)
        code, _, stderr = self.run_it(*words[:-1], "nowhere")
        self.assertEqual((code, "there is no file nowhere" in stderr), (2, True), stderr)

    def test_v_logs_the_decision(self) -> None:
        words = ["run", "--policy", "require", "pod.yaml"]
        self.assertEqual(self.run_it(*words)[2], "")
        self.api.pods.clear()
        stderr = self.run_it(*words, "-v")[2]
        self.assertRegex(stderr, r'^INFO \{"time": .*"decision": "gvisor", "name": "eval-1"')

    def test_an_interrupted_run_and_cancel_leave_no_pod_that_starts_later(self) -> None:
        self.api.kubelet = unschedulable
        words = ["run", "--policy", "wait", "pod.yaml"]
        env = {"KUBECONFIG": str(self.folder / "kubeconfig"), "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-B", "-m", "gvisor_dispatch", *words]
        with subprocess.Popen(command, env=env, cwd=self.folder, stderr=subprocess.PIPE) as running:
            while not self.api.requests("watch="):
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            self.assertEqual((running.wait(300), self.api.pods), (130, {}), running.stderr and running.stderr.read())
        self.api.kubelet = runs
        self.run_it(*words)
        code, said, _ = self.run_it("cancel", "pod.yaml")
        self.assertEqual((code, said["name"]), (1, "eval-1"))
        self.api.update("eval-1", {"phase": "Pending", "containerStatuses": []})
        self.assertEqual(self.run_it("cancel", "pod.yaml")[:2], (0, {"removed": True}))
        self.assertEqual(self.api.pods, {})
