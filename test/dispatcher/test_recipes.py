"""The recipes of the README, run as they are."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from case import ApiCase, SoftTimeLimitExceeded
from cluster_objects import Json, node, pod, pulls, runs, unschedulable
from gvisor_dispatch import GVisorUnavailableError, Policy
from kubernetes import client

sys.path.insert(0, str(Path(__file__).parents[2] / "dispatcher/recipes"))
import job
import own_pods
import worker

BAD = node("bad", "false", "SandboxFailed")


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


class JobTest(ApiCase):
    def submit(self, policy: Policy) -> bool | None:
        template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
        meta = {"name": "eval-1", "namespace": "evals"}
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
        decision = job.submit(self.api.client(), made, policy)
        return decision and decision.in_gvisor

    def test_its_template_requests_gvisor(self) -> None:
        self.assertIs(self.submit(Policy.PREFER), True)
        template = self.api.jobs["eval-1"]["spec"]["template"]
        self.assertEqual(template["spec"]["runtimeClassName"], "gvisor")
        self.assertEqual(template["metadata"]["labels"], {"gvisor-dispatch": "gvisor"})
        self.assertIs(self.submit(Policy.PREFER), None)

    def test_a_fallback_is_in_the_template_and_in_an_event_of_the_job(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            self.assertIs(self.submit(Policy.PREFER), False)
        template = self.api.jobs["eval-1"]["spec"]["template"]
        self.assertEqual(template["metadata"]["annotations"]["gvisor-dispatch/reason"], "GVisorFails")
        self.assertNotIn("runtimeClassName", template["spec"])
        self.assertEqual([one["involvedObject"]["kind"] for one in self.api.events], ["Job"])

    def test_it_is_refused_or_waits_under_the_other_policies(self) -> None:
        self.api.nodes = [BAD]
        with self.assertRaises(GVisorUnavailableError):
            self.submit(Policy.REQUIRE)
        self.assertEqual(self.api.jobs, {})
        self.assertIs(self.submit(Policy.WAIT), True)


class Retry(Exception):  # noqa: N818
    """The exception that Celery's task.retry() returns."""


class CeleryTask:
    """The part of a bound task that the recipe uses."""

    def retry(self, *, exc: Exception, countdown: float) -> Exception:
        return Retry(exc, countdown)


class WorkerTest(ApiCase):
    def deliver(self) -> Json:
        dispatcher = self.dispatcher(wait_deadline=2)
        return worker.evaluate(CeleryTask(), dispatcher, "eval 17", pod())

    def test_a_task_that_is_stopped_and_delivered_again_runs_one_pod(self) -> None:
        self.api.kubelet = pulls
        self.interrupt(0.5)
        with self.assertRaises(SoftTimeLimitExceeded):
            self.deliver()
        self.assertEqual(list(self.api.pods), ["eval-1"])
        runs(self.api, "eval-1")
        self.assertTrue(self.deliver()["adopted"])
        self.assertEqual(len(self.api.created), 1)

    def test_no_room_puts_the_task_back(self) -> None:
        self.api.kubelet = unschedulable
        with self.assertRaises(Retry):
            self.deliver()
        self.assertEqual(self.api.pods, {})


class OwnChoiceTest(ApiCase):
    """A pod that chooses its own node or runtime is refused alike, whichever way it comes."""

    def test_every_way_refuses(self) -> None:
        self.api.nodes = [BAD]
        for field, value in (("runtimeClassName", "kata"), ("runtimeClassName", "gvisor"), ("nodeName", "bad")):
            wrong = pod(**{field: value})
            meta = {"name": "eval-1", "namespace": "evals"}
            wrong_job = {"kind": "Job", "metadata": meta, "spec": {"template": {"spec": wrong["spec"]}}}
            fallback = self.dispatcher().decide(pod(), Policy.PREFER, "evals")
            ways: dict[str, Callable[[], object]] = {
                "ask": lambda wrong=wrong: self.dispatcher().ask(wrong),
                "decide": lambda wrong=wrong: self.dispatcher().decide(wrong, Policy.PREFER, "evals"),
                "applied": lambda wrong=wrong, fallback=fallback: fallback.applied(wrong),
                "dispatch": lambda wrong=wrong: self.dispatcher().dispatch(wrong, Policy.PREFER),
                "own_pods": lambda wrong=wrong: own_pods.create(self.api.client(), wrong, Policy.PREFER, "evals"),
                "job": lambda wrong=wrong_job: job.submit(self.api.client(), wrong, Policy.PREFER),
            }
            for way, call in ways.items():
                with self.subTest(way, field=field), self.assertRaisesRegex(ValueError, f"the pod sets spec.{field}"):
                    call()
        self.assertEqual((self.api.created, self.api.jobs), ([], {}))


class OwnPodsTest(ApiCase):
    def test_a_pod_as_json_and_as_a_model(self) -> None:
        spec = client.V1PodSpec(containers=[client.V1Container(name="c", image="i")])
        model = client.V1Pod(metadata=client.V1ObjectMeta(name="eval-2"), spec=spec)
        for one in (pod("eval-1"), model):
            created = own_pods.create(self.api.client(), one, Policy.PREFER, "evals")
            self.assertEqual(created.spec.runtime_class_name, "gvisor")

    def test_a_fallback_is_told_of_the_pod(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            created = own_pods.create(self.api.client(), pod(), Policy.PREFER, "evals")
        self.assertEqual(created.metadata.annotations["gvisor-dispatch/policy"], "prefer")
        self.assertEqual(self.api.events[0]["involvedObject"]["uid"], created.metadata.uid)


if __name__ == "__main__":
    unittest.main()
