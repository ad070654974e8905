"""The recipes of the README, run as they are."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from case import ApiCase
from cluster_objects import BAD, pod
from gvisor_dispatch import PodError, Policy
from kubernetes import client


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
