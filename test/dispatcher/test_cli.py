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
from case import PATIENCE, ApiCase
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
        self.later(0.5, lambda: self.api.seconds_later(31))
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

    def test_odd_manifests_get_a_sentence(self) -> None:
        meta, containers = "metadata: {name: a, namespace: evals}", "containers: [{name: c, image: i}]"
        pod_part, spec = "the .+ has no spec.containers", f"spec: {{{containers}}}"
        for text, sentence in (
            ("", "must contain one object, a Pod or a Job, and has 0"),
            (f"{meta}\n{spec}\n---\n{meta}\n{spec}", "and has 2"),
            ("[1, 2]", r"must contain one object, a Pod or a Job, and has \[1, 2\]"),
            ("pod", 'must contain one object, a Pod or a Job, and has "pod"'),
            ("a: [", "cannot read odd.yaml: "),
            ("a: &a [*a]", "cannot read|no JSON|has no spec.containers"),
            ("{}", pod_part),
            ("metadata:", pod_part),
            (f"metadata:\n{spec}", "the pod needs metadata.name and metadata.namespace"),
            (f"metadata: {{name: a}}\n{spec}", "the pod needs metadata.namespace$"),
            (f"metadata: {{generateName: a-, namespace: b}}\n{spec}", "the pod needs metadata.name; only create makes"),
            (f"{meta}\nspec: {{nodeName: n, {containers}}}", "the pod sets spec.nodeName: .+: use spec.nodeSelector"),
            (f"metadata: []\n{spec}", r"metadata must be a mapping, and is \[\]"),
            (f"metadata: x\n{spec}", 'metadata must be a mapping, and is "x"'),
            (f"metadata: {{name: 1, namespace: evals}}\n{spec}", "metadata.name must be a text, and is 1"),
            (f"metadata: {{name: a, namespace: [b]}}\n{spec}", "metadata.namespace must be a text"),
            (f"metadata: {{name: a, namespace: b, labels: [c]}}\n{spec}", "metadata.labels must be a mapping"),
            (f"metadata: {{name: a, namespace: b, annotations: c}}\n{spec}", "metadata.annotations must be a mapping"),
            (f"{meta}\nspec:", pod_part),
            (f"{meta}\nspec: []", r"spec must be a mapping, and is \[\]"),
            (f"{meta}\nspec: {{containers: }}", pod_part),
            (f"{meta}\nspec: {{containers: c}}", 'spec.containers must be a list, and is "c"'),
            (f"{meta}\nspec: {{containers: {{name: c}}}}", "spec.containers must be a list"),
            (f"{meta}\nspec: {{containers: [c]}}", r'spec.containers\[0\] must be a mapping, and is "c"'),
            (f"{meta}\nspec: {{initContainers: [1], {containers}}}", r"spec.initContainers\[0\] must be a mapping"),
            (f"{meta}\nspec: {{containers: [{{volumeMounts: x}}]}}", r"containers\[0\].volumeMounts must be a list"),
            (f"{meta}\nspec: {{containers: [{{volumeMounts: [x]}}]}}", r"volumeMounts\[0\] must be a mapping"),
            (f"{meta}\nspec: {{runtimeClassName: 1, {containers}}}", "spec.runtimeClassName must be a text"),
            (f"{meta}\nspec: {{nodeName: {{}}, {containers}}}", "spec.nodeName must be a text"),
            (f"{meta}\nspec: {{tolerations: x, {containers}}}", "spec.tolerations must be a list"),
            (f"{meta}\nspec: {{nodeSelector: [x], {containers}}}", "spec.nodeSelector must be a mapping"),
            (f"{meta}\nspec: {{affinity: x, {containers}}}", "spec.affinity must be a mapping"),
            (f"{meta}\nspec: {{schedulingGates: x, {containers}}}", "spec.schedulingGates must be a list"),
            (f"kind: List\nitems: [{{{meta}}}]", "the List has no spec.containers: it must be a Pod, a pod template"),
            (f"kind: Deployment\n{meta}\nspec: {{template: x}}", "spec.template must be a mapping"),
            (f"kind: CronJob\n{meta}\nspec: {{jobTemplate: {{}}}}", "the CronJob has no spec.containers"),
            (f"kind: Job\n{meta}\nspec: {{template: {{spec: }}}}", "the pod template has no spec.containers"),
            (f"kind: Job\n{meta}\nspec: {{template: {{spec: x}}}}", "spec.template.spec must be a mapping"),
            (f"kind: [Job]\n{meta}\n{spec}", "kind must be a text"),
            (f"{meta}\nspec: {{containers: !!set {{a}}}}", "no JSON"),
        ):
            (self.folder / "odd.yaml").write_text(text)
            for words in (["ask", "--policy", "prefer"], ["run", "--policy", "require"], ["cancel"]):
                with self.subTest(text, words=words):
                    code, said, stderr = self.run_it(*words, "odd.yaml")
                    if words[0] == "ask" and "the pod needs" in sentence:
                        self.assertEqual(code, 0, said)  # it needs no name
                        continue
                    self.assertRegex(said.get("message", stderr), sentence)
                    self.assertIn((code, said.get("reason")), ((2, None), (65, "PodRefused")))
        self.assertEqual(self.api.created, [])

    def test_a_job_is_asked_for_run_explained_and_cancelled(self) -> None:
        template = {"spec": {"restartPolicy": "Never", **pod()["spec"]}}
        job = {"kind": "Job", "metadata": pod()["metadata"], "spec": {"template": template}}
        (self.folder / "job.yaml").write_text(json.dumps(job))
        self.assertEqual(self.run_it("ask", "--policy", "require", "job.yaml")[0], 0)
        code, said, _ = self.run_it("run", "--policy", "require", "job.yaml")
        self.assertEqual((code, said["name"], said["in_gvisor"], said["reason"]), (0, "eval-1", True, "Available"))
        explain = ("explain", "job/eval-1", "-n", "evals")
        code, said, _ = self.run_it(*explain)
        self.assertEqual((code, said["reason"]), (75, "PodMissing"))
        for name, spec in (("a", {"runtimeClassName": "gvisor"}), ("b", {})):
            one = pod(f"eval-1-{name}", **spec)
            one["metadata"]["labels"] = {"batch.kubernetes.io/job-name": "eval-1"}
            self.api.add_pod("evals", one)
            runs(self.api, f"eval-1-{name}")
            self.api.seconds_later(31)
            code, said, _ = self.run_it(*explain)
            self.assertEqual((code, said["in_gvisor"]), (0, True) if name == "a" else (5, False))
        self.assertRegex(said["message"], "^eval-1-b: NoRuntimeClass: ")
        self.api.jobs["eval-1"]["status"] = {"ready": 1}
        code, said, _ = self.run_it("cancel", "job.yaml")
        self.assertEqual((code, said["in_gvisor"], list(self.api.jobs)), (1, False, ["eval-1"]))
        self.api.jobs["eval-1"]["status"] = {"active": 1}
        self.assertEqual(self.run_it("cancel", "job.yaml")[:2], (0, {"removed": True}))
        self.assertEqual(self.api.jobs, {})

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
            code = running.wait(300 * PATIENCE)
            self.assertEqual((code, self.api.pods), (130, {}), running.stderr and running.stderr.read())
        self.api.kubelet = runs
        self.run_it(*words)
        code, said, _ = self.run_it("cancel", "pod.yaml")
        self.assertEqual((code, said["name"]), (1, "eval-1"))
        self.api.update("eval-1", {"phase": "Pending", "containerStatuses": []})
        self.assertEqual(self.run_it("cancel", "pod.yaml")[:2], (0, {"removed": True}))
        self.assertEqual(self.api.pods, {})
