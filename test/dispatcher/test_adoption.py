"""Repeated calls, concurrent callers, and pods of other programs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from case import SHORT, ApiCase
from cluster_objects import BAD, node, pod, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import ConflictError, DispatchError, Policy, PolicyError, RetryLaterError


class AdoptionTest(ApiCase):
    def fall_back(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            self.call(Policy.PREFER)

    def test_the_same_call_again_adopts_the_pod(self) -> None:
        first, second = self.call(), self.call()
        self.assertEqual((first.adopted, second.adopted), (False, True))
        self.assertEqual(len(self.api.created), 1)

    def test_it_adopts_even_when_gvisor_has_gone_meanwhile(self) -> None:
        self.call(Policy.PREFER)
        self.api.nodes, self.api.runtime_class = [BAD], None
        again = self.call(Policy.PREFER)
        self.assertEqual((again.in_gvisor, again.reason), (None, "RuntimeClassMissing"))
        self.assertEqual(len(self.api.created), 1)

    def test_an_id_of_the_evaluation_outlives_changes_of_the_manifest(self) -> None:
        self.call(dispatch_id="eval 17")
        again = self.dispatcher().dispatch(pod(activeDeadlineSeconds=9), Policy.REQUIRE, "eval 17")
        self.assertTrue(again.adopted)

    def test_another_pod_of_that_name_is_left_alone(self) -> None:
        self.call(dispatch_id="one")
        with self.assertRaisesRegex(ConflictError, "NameTaken"):
            self.call(dispatch_id="other")
        self.api.pods["eval-1"]["metadata"]["annotations"] = None
        with self.assertRaisesRegex(ConflictError, "NameTaken"):
            self.call()
        self.assertEqual(len(self.api.created), 1)

    def test_a_fallback_is_adopted_with_its_reason_and_has_one_event(self) -> None:
        self.api.nodes = [BAD]
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            self.call(Policy.PREFER)
            self.api.nodes = [node("good")]
            again = self.call(Policy.PREFER)
        self.assertEqual((again.in_gvisor, again.adopted, again.reason), (False, True, "GVisorFails"))
        self.assertEqual(len(self.api.events), 1)

    def test_a_call_that_requires_gvisor_adopts_no_fallback(self) -> None:
        self.fall_back()
        for policy in (Policy.REQUIRE, Policy.WAIT):
            with self.assertRaisesRegex(PolicyError, "RunsOutside"):
                self.call(policy)
        self.assertEqual(list(self.api.pods), ["eval-1"])

    def test_prefer_adopts_no_fallback_once_the_namespace_has_withdrawn_its_consent(self) -> None:
        self.fall_back()
        self.api.namespaces["evals"] = {}
        with self.assertRaisesRegex(
            PolicyError, "RunsOutside: .* does not have the label gvisor-ready.dev/allow-host-kernel"
        ):
            self.call(Policy.PREFER)
        self.assertEqual(list(self.api.pods), ["eval-1"])

    def test_a_label_does_not_prove_a_pod_in_gvisor(self) -> None:
        self.call()
        del self.api.pods["eval-1"]["spec"]["runtimeClassName"]
        with self.assertRaisesRegex(PolicyError, "RunsOutside"):
            self.call()

    def test_a_pod_that_an_earlier_call_was_removing_goes_before_the_next(self) -> None:
        self.call()
        self.api.pods["eval-1"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        with self.assertRaisesRegex(RetryLaterError, "PodNotGone"):
            self.call(**SHORT)
        self.assertEqual(len(self.api.created), 1)
        self.later(0.3, lambda: self.api.remove("eval-1"))
        self.assertFalse(self.call().adopted)
        self.assertEqual(len(self.api.created), 2)

    def test_a_pod_that_another_program_removes_is_not_created_again(self) -> None:
        def removed(api: FakeApi, name: str) -> None:
            time.sleep(0.2)
            api.remove(name)

        self.api.kubelet = removed
        with self.assertRaisesRegex(ConflictError, "PodRemoved"):
            self.call(Policy.PREFER)
        self.assertEqual(len(self.api.created), 1)

    def test_a_pod_without_a_confirmed_deletion_has_no_successor(self) -> None:
        self.api.kubelet, self.api.deletes = unschedulable, False
        with self.assertRaisesRegex(RetryLaterError, "PodNotGone"):
            self.call(Policy.PREFER, **SHORT)
        self.assertEqual(len(self.api.created), 1)

    def test_a_pod_that_starts_at_the_last_moment_is_kept(self) -> None:
        self.api.kubelet = unschedulable
        done = threading.Event()

        def start_before_deletion() -> None:
            while not self.api.requests("DELETE|GET /api/v1/namespaces/evals/events"):
                time.sleep(0.01)
            runs(self.api, "eval-1")
            done.set()

        self.api.fail("DELETE", "/pods/eval-1", 500)  # when it is repeated, the pod runs
        self.later(0, start_before_deletion)
        self.assertTrue(self.call(schedule_deadline=0.4).in_gvisor)
        done.wait()
        self.assertEqual((list(self.api.pods), len(self.api.created)), (["eval-1"], 1))


class TogetherTest(ApiCase):
    def test_sixteen_callers_of_one_evaluation_start_it_once(self) -> None:
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda _: self.call(), range(16)))
        self.assertEqual({one.in_gvisor for one in found}, {True})
        self.assertEqual([one.adopted for one in found].count(False), 1)
        self.assertEqual(len(self.api.created), 1)

    def test_callers_that_fall_back_together_do_so_once(self) -> None:
        self.api.nodes = [BAD]
        with ThreadPoolExecutor(8) as threads, self.assertLogs("gvisor_dispatch", "WARNING"):
            found = list(threads.map(lambda _: self.call(Policy.PREFER), range(8)))
        self.assertEqual({one.in_gvisor for one in found}, {False})
        self.assertEqual((len(self.api.created), len(self.api.events)), (1, 1))

    def test_two_that_give_up_together_never_have_two_pods(self) -> None:
        """One removes the pod while the other still looks at it, and gVisor fails meanwhile."""

        def stuck(api: FakeApi, name: str) -> None:
            if name not in api.pods or not api.pods[name]["spec"].get("runtimeClassName"):
                return runs(api, name)
            api.nodes = [BAD]
            return unschedulable(api, name)

        def call(_: int) -> str:
            try:
                return "host" if not self.call(Policy.PREFER, schedule_deadline=1).in_gvisor else "gvisor"
            except DispatchError as error:
                return error.reason

        self.api.kubelet = stuck
        with ThreadPoolExecutor(4) as threads, self.assertLogs("gvisor_dispatch", "WARNING"):
            found = set(threads.map(call, range(4)))
        self.assertIn("host", found)
        self.assertLessEqual(found, {"host", "PodRemoved"})
        self.assertEqual((len(self.api.created), len(self.on_host())), (2, 1))
