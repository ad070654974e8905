"""What a call made is where the policy has it, or gone; and a fallback is a decision of now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from case import ApiCase
from cluster_objects import BAD, Json, node, pod, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import DispatchError, Policy, PolicyError, RetryLaterError

CONSENT = {"gvisor-ready.dev/allow-host-kernel": "true"}
GATED = {"schedulingGates": [{"name": "example.org/quota"}]}


def job(**spec: Any) -> Json:  # noqa: ANN401
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    meta = {"name": "eval-1", "namespace": "evals"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template, **spec}}


def on_the_host(made: Json) -> None:
    """An admission that takes the class away."""
    made["spec"].get("template", made)["spec"].pop("runtimeClassName", None)


def another_class(made: Json) -> None:
    made["spec"].get("template", made)["spec"]["runtimeClassName"] = "runc"


class PlaceTest(ApiCase):
    def ways(self, policy: Policy) -> dict[str, Callable[[], object]]:
        return {
            "dispatch": lambda: self.dispatcher().dispatch(pod(), policy),
            "create": lambda: self.dispatcher().create(pod(), policy),
            "create a Job": lambda: self.dispatcher().create(job(), policy),
        }

    def check(self, call: Callable[[], object], kind: type[DispatchError], text: str) -> None:
        with self.assertRaisesRegex(kind, text):
            call()
        self.assertEqual((self.api.pods, self.api.jobs), ({}, {}))

    def test_what_admission_moves_is_removed_whether_it_runs_or_not(self) -> None:
        for admission in (on_the_host, another_class):
            for kubelet in (runs, unschedulable):
                for policy in (Policy.REQUIRE, Policy.WAIT, Policy.PREFER):
                    for way, call in self.ways(policy).items():
                        with self.subTest(way, policy=policy, admission=admission.__name__), FakeApi() as self.api:
                            self.api.admission, self.api.kubelet = admission, kubelet
                            self.check(call, PolicyError, "^RunsOutside: .* admission changed that; it was removed$")

    def test_what_admission_moves_is_removed_by_the_next_call_if_this_one_lost_the_response(self) -> None:
        for way, call in self.ways(Policy.REQUIRE).items():
            with self.subTest(way), FakeApi() as self.api:
                self.api.admission = on_the_host
                self.api.fail("POST", "/(pods|jobs)$", 0, late=True)
                self.check(call, PolicyError, "^RunsOutside: .* admission changed that; it was removed$")

    def test_what_cannot_be_removed_is_named(self) -> None:
        for call in self.ways(Policy.REQUIRE).values():
            with FakeApi() as self.api, self.assertLogs("gvisor_dispatch", "WARNING") as logs:
                self.api.admission = on_the_host
                self.api.fail("DELETE", "", 403, times=9)
                with self.assertRaisesRegex(PolicyError, "it could not be removed: cannot delete .* 403"):
                    call()
            self.assertIn("evals/eval-1 runs WITHOUT gVisor, and could not be removed", logs.output[0])

    def test_consent_that_goes_while_the_creation_is_retried_counts(self) -> None:
        for way, call in self.ways(Policy.PREFER).items():
            with self.subTest(way), FakeApi() as self.api:
                self.api.nodes = [BAD]
                self.api.fail("POST", "/(pods|jobs)$", 503, times=2)
                threading.Thread(target=self.withdraw_consent, args=(self.api,)).start()
                self.check(call, PolicyError, "^RunsOutside: .* does not have the label .*; it was removed$")

    def withdraw_consent(self, api: FakeApi) -> None:
        while not api.requests("POST"):
            time.sleep(0.01)
        api.namespaces["evals"] = {}

    def test_a_decision_that_grew_old_while_the_creation_was_retried_does_not_count(self) -> None:
        for way, call in self.ways(Policy.PREFER).items():
            with self.subTest(way), FakeApi() as self.api, mock.patch("gvisor_dispatch.decision.FALLBACK_SECONDS", 0.3):
                self.api.nodes = [BAD]
                self.api.fail("POST", "/(pods|jobs)$", 503, times=3)
                self.check(call, RetryLaterError, "^DecisionExpired: .*; it was removed$")

    def test_an_unreadable_namespace_after_a_fallback_was_created_is_no_consent(self) -> None:
        self.api.nodes = [BAD]
        self.api.admission = lambda _: self.api.fail("GET", "/namespaces/evals$", 500, times=99)
        self.check(
            lambda: self.dispatcher(api_deadline=1).dispatch(pod(), Policy.PREFER), RetryLaterError, "it was removed$"
        )

    def test_an_earlier_calls_fallback_that_has_not_started_goes_once_the_policy_forbids_it(self) -> None:
        self.api.nodes, self.api.kubelet = [BAD], unschedulable
        for policy, labels in ((Policy.REQUIRE, CONSENT), (Policy.PREFER, {})):
            for way in ("create", "create a Job"):
                with self.subTest(way, policy=policy), self.assertLogs("gvisor_dispatch", "WARNING"):
                    self.api.namespaces["evals"] = CONSENT
                    self.ways(Policy.PREFER)[way]()
                    self.api.namespaces["evals"] = labels
                    self.check(self.ways(policy)[way], PolicyError, "^RunsOutside: .*; it was removed$")


class DelayTest(ApiCase):
    """Where gVisor fails, and the namespace consents."""

    def setUp(self) -> None:
        super().setUp()
        self.api.nodes = [BAD]

    def test_what_may_start_much_later_does_not_leave_gvisor(self) -> None:
        gated, suspended = pod(**GATED), job(suspend=True)
        gated_job = job()
        gated_job["spec"]["template"]["spec"] |= GATED
        for made, why in ((gated, "scheduling gates"), (gated_job, "scheduling gates"), (suspended, "suspended")):
            for call in (
                self.dispatcher().create,
                lambda made, policy: self.dispatcher().decide(made, policy, "evals"),
            ):
                with self.assertRaisesRegex(PolicyError, f"^GVisorFails: .* it (has|is) {why}"):
                    call(made, Policy.PREFER)
        self.assertEqual((self.api.created, self.api.jobs), ([], {}))
        self.api.nodes = [node("good")]
        for made in (gated, suspended):
            self.dispatcher().create(made, Policy.PREFER)

    def test_nor_what_admission_holds_back(self) -> None:
        def hold(made: Json) -> None:
            if made.get("kind") == "Job":
                made["spec"]["suspend"] = True
            else:
                made["spec"] |= GATED

        self.api.admission = hold
        for made in (pod(), job()):
            with self.assertRaisesRegex(PolicyError, "^RunsOutside: .* decision of now, .*; it was removed$"):
                self.dispatcher().create(made, Policy.PREFER)
        self.assertEqual((self.api.pods, self.api.jobs), ({}, {}))

    def test_a_job_outside_gvisor_ends_in_time(self) -> None:
        for given, expected in ((None, 3600), (7200, 7200), (10**6, 86400)):
            with self.subTest(given), self.assertLogs("gvisor_dispatch", "WARNING"):
                created = self.dispatcher().create(job(activeDeadlineSeconds=given), Policy.PREFER)
                self.assertEqual(created["spec"]["activeDeadlineSeconds"], expected)
                self.api.jobs.clear()
        self.api.nodes = [node("good")]
        self.assertNotIn("activeDeadlineSeconds", self.dispatcher().create(job(), Policy.PREFER)["spec"])
