"""The recipes of the README, run as they are."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import yaml
from case import ApiCase
from cluster_objects import BAD, node, pod
from gvisor_dispatch import PodError, Policy, Settings
from kubernetes import client

RECIPES = Path(__file__).parents[2] / "dispatcher/recipes"


class ReadmeTest(ApiCase):
    def test_the_example_runs(self) -> None:
        text = (Path(__file__).parents[2] / "dispatcher/README.md").read_text(encoding="utf-8")
        [example] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        config = client.Configuration(host=self.api.url)
        self.addCleanup(client.Configuration.set_default, None)
        load = mock.patch("kubernetes.config.load_config", lambda: client.Configuration.set_default(config))
        with load, contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(example, {"pod": pod()})
        self.assertEqual(printed.getvalue().split()[:3], ["node-1", "True", "Available"])


class PlainClientTest(ApiCase):
    def test_it_creates_what_was_decided(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "pod.yaml").write_text(json.dumps(pod()))
        script = "import runpy, sys; from kubernetes import client, config; config.load_config = lambda: None; "
        script += "client.Configuration.set_default(client.Configuration(host=sys.argv.pop(1))); "
        script += "runpy.run_path(sys.argv.pop(1))"
        for nodes, said in (([node("a")], "eval-1 True Available\n"), ([BAD], "eval-1 False GVisorFails\n")):
            self.api.pods.clear()
            self.api.nodes = nodes
            command = [sys.executable, "-B", "-c", script, self.api.url, str(RECIPES / "plain_client.py"), "pod.yaml"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout, said, done.stderr)
        self.assertEqual([one["reason"] for one in self.api.events], ["GVisorFallback"])


class TemplateTest(ApiCase):
    """What platforms make of the recipes' templates, as their documentation says; test/nightly runs their programs."""

    def test_each_pod_asks_for_gvisor_alone(self) -> None:
        argo, airflow, tekton = (
            yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
            for name in ("argo-workflow", "airflow-pod", "tekton-taskrun")
        )
        container = argo["spec"]["templates"][0]["container"]
        steps = tekton["spec"]["taskSpec"]["steps"]
        for title, spec in (
            ("Argo", {"containers": [container], **yaml.safe_load(argo["spec"]["podSpecPatch"])}),
            ("Airflow", airflow["spec"]),
            ("Tekton", {"containers": steps, **tekton["spec"]["podTemplate"]}),
        ):
            with self.subTest(title):
                self.api.nodes = [node("a")]
                self.assertTrue(self.dispatcher().ask({"spec": spec}).available)
                self.assertEqual(spec["runtimeClassName"], Settings().runtime_class)
        self.assertEqual(airflow["spec"]["containers"][0]["name"], "base")


class OwnChoiceTest(ApiCase):
    """A pod that chooses its own node or runtime is refused alike, whichever way it comes."""

    def test_every_way_refuses(self) -> None:
        self.api.nodes = [BAD]
        for field, value in (("runtimeClassName", "kata"), ("nodeName", "bad")):
            wrong = pod(**{field: value})
            meta = {"name": "eval-1", "namespace": "evals"}
            wrong_job = {"kind": "Job", "metadata": meta, "spec": {"template": {"spec": wrong["spec"]}}}
            fallback = self.dispatcher().decide(pod(), Policy.PREFER, "evals")
            ways: dict[str, Callable[[], object]] = {
                "ask": lambda wrong=wrong: self.dispatcher().ask(wrong),
                "decide": lambda wrong=wrong: self.dispatcher().decide(wrong, Policy.PREFER, "evals"),
                "applied": lambda wrong=wrong, fallback=fallback: fallback.applied(wrong),
                "dispatch": lambda wrong=wrong: self.dispatcher().dispatch(wrong, Policy.PREFER),
                "create": lambda wrong=wrong: self.dispatcher().create(wrong, Policy.PREFER),
                "job": lambda wrong=wrong_job: self.dispatcher().create(wrong, Policy.PREFER),
            }
            for way, call in ways.items():
                with self.subTest(way, field=field), self.assertRaisesRegex(PodError, f"the pod sets spec.{field}"):
                    call()
        self.assertEqual((self.api.created, self.api.jobs), ([], {}))

    def test_a_pod_may_name_the_class_itself_where_the_policy_never_leaves_it(self) -> None:
        named = pod(runtimeClassName="gvisor")
        self.assertTrue(self.dispatcher().ask(named).available)
        for policy in (Policy.REQUIRE, Policy.WAIT):
            self.assertTrue(self.dispatcher().dispatch(named, policy, "id").in_gvisor)
        self.api.nodes = [BAD]
        outside = self.dispatcher().decide(pod(), Policy.PREFER, "evals")
        for policy in (Policy.PREFER, Policy.NO_GVISOR):
            for call in (self.dispatcher().dispatch, self.dispatcher().create):
                with self.assertRaisesRegex(PodError, "runtimeClassName: gvisor: leave that to the policy"):
                    call(named, policy)
        with self.assertRaisesRegex(PodError, "leave that to the policy"):
            outside.applied(named)
        self.assertEqual(len(self.api.created), 1)
