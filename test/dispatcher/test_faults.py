"""An API server that is away, busy or forgetful, watches that are lost, and callers that are interrupted."""

from __future__ import annotations

import signal
import threading
import time
import unittest
from unittest import mock

from case import ApiCase
from cluster_objects import node, pulls, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import ApiUnavailableError, GVisorUnavailableError, Policy, RefusedError


class SoftTimeLimitExceeded(Exception):  # noqa: N818
    """Celery's, which it raises in a handler of SIGUSR1: https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits"""


class FaultTest(ApiCase):
    def test_any_request_may_fail_once_in_any_way(self) -> None:
        for status in (0, 429, 500, 503, 504):
            for method, path in (
                ("GET", "/runtimeclasses/"),
                ("GET", "/nodes"),
                ("GET", "/namespaces/evals$"),
                ("POST", "/pods"),
                ("GET", "/pods/eval-1"),
                ("GET", "watch="),
            ):
                with self.subTest(status=status, method=method, path=path), FakeApi() as self.api:
                    self.api.kubelet = slowly
                    self.api.fail(method, path, status)
                    self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))
                    self.assertEqual(len(self.api.created), 1)

    def test_a_read_that_fails_while_it_waits_leaves_no_second_pod(self) -> None:
        self.api.kubelet = slowly
        self.later(0.1, lambda: self.api.fail("GET", "/pods/eval-1", 500, times=2))
        self.assertTrue(self.call().in_gvisor)
        self.assertEqual(list(self.api.pods), ["eval-1"])

    def test_a_deletion_that_fails_once_is_repeated(self) -> None:
        self.api.kubelet = unschedulable
        self.api.fail("DELETE", "/pods/eval-1", 500)
        self.assertEqual(self.outcome(Policy.REQUIRE, schedule_deadline=0.4), ("CapacityError", "Unschedulable"))
        self.assertEqual(self.api.pods, {})

    def test_a_creation_whose_answer_is_lost_is_adopted(self) -> None:
        for status in (0, 500):
            with self.subTest(status=status), FakeApi() as self.api:
                self.api.fail("POST", "/pods", status, late=True)
                self.assertTrue(self.call().adopted)
                self.assertEqual(len(self.api.created), 1)

    def test_it_waits_as_long_as_the_api_server_asks(self) -> None:
        self.api.fail("GET", "/nodes", 429, headers={"Retry-After": "2"})
        begun = time.monotonic()
        self.assertTrue(self.call().in_gvisor)
        self.assertGreater(time.monotonic() - begun, 2)

    def test_but_not_for_an_hour(self) -> None:
        self.api.fail("GET", "/nodes", 429, headers={"Retry-After": "3600"})
        begun = time.monotonic()
        with self.assertRaises(ApiUnavailableError):
            self.call(api_deadline=2)
        self.assertLess(time.monotonic() - begun, 2)

    def test_an_api_server_that_stays_away_is_an_error_and_never_a_fallback(self) -> None:
        self.api.nodes = [node("bad", "false", "SandboxFailed")]
        self.api.fail("GET", "/nodes", 500, times=99)
        with self.assertRaisesRegex(ApiUnavailableError, "cannot list nodes: 500 a fault of the test; given up"):
            self.call(Policy.PREFER, api_deadline=1)
        self.assertEqual(self.api.created, [])

    def test_conflicts_without_a_pod_come_to_an_end(self) -> None:
        """A quota that changes all the time is one: 409, and nobody has the name."""
        for found in (node("good"), node("bad", "false", "SandboxFailed")):
            self.api.nodes = [found]
            self.api.fail("POST", "/pods", 409, times=50)
            with self.assertRaisesRegex(RefusedError, "cannot create pod evals/eval-1: 409"):
                self.call(Policy.PREFER)
        self.assertLess(len(self.api.asked("POST")), 10)

    def test_a_namespace_that_cannot_be_read_is_no_leave_to_fall_back(self) -> None:
        self.api.nodes = [node("bad", "false", "SandboxFailed")]
        for status, error in ((403, GVisorUnavailableError), (500, ApiUnavailableError)):
            self.api.faults.clear()
            self.api.fail("GET", "/namespaces/evals$", status, times=99)
            with self.assertRaisesRegex(error, f"cannot read namespace evals: {status} "):
                self.call(Policy.PREFER, api_deadline=1)
        self.assertEqual(self.api.created, [])


class WatchTest(ApiCase):
    def test_a_forbidden_watch_is_asked_ever_more_seldom(self) -> None:
        self.api.kubelet = pulls
        self.api.fail("GET", "watch=", 403, times=999)
        self.later(5, lambda: self.api.update("eval-1", {"phase": "Running"}))
        self.assertTrue(self.call(start_deadline=30, node_interval=30).in_gvisor)
        self.assertLess(len(self.api.asked("watch=")), 12)

    def test_watches_that_end_at_once_or_expire_are_begun_anew(self) -> None:
        for status in (0, 410):
            with self.subTest(status=status), FakeApi() as self.api:
                self.api.kubelet = slowly
                self.api.fail("GET", "watch=", status, times=3)
                self.assertTrue(self.call().in_gvisor)

    def test_a_watch_that_went_silent_costs_some_seconds(self) -> None:
        self.api.kubelet = slowly
        self.api.silent_watches = True
        begun = time.monotonic()
        with mock.patch("gvisor_dispatch.api.WATCH_SECONDS", 1):
            self.assertTrue(self.call(schedule_deadline=30, start_deadline=30).in_gvisor)
        self.assertLess(time.monotonic() - begun, 10)


class InterruptionTest(ApiCase):
    def interrupt(self, after: float) -> None:
        def soft_limit(*_: object) -> None:
            raise SoftTimeLimitExceeded

        old = signal.signal(signal.SIGUSR1, soft_limit)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        self.later(after, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1))

    def test_what_a_signal_raises_passes_through_and_the_next_call_adopts(self) -> None:
        self.api.kubelet = pulls
        self.interrupt(0.5)
        begun = time.monotonic()
        with self.assertRaises(SoftTimeLimitExceeded):
            self.call(start_deadline=6, schedule_deadline=6)
        self.assertLess(time.monotonic() - begun, 1.5)
        runs(self.api, "eval-1")
        again = self.call()
        self.assertEqual((again.in_gvisor, again.adopted, len(self.api.created)), (True, True, 1))

    def test_also_while_a_request_is_repeated(self) -> None:
        self.api.fail("GET", "/nodes", 500, times=99)
        self.interrupt(0.5)
        with self.assertRaises(SoftTimeLimitExceeded):
            self.call(api_deadline=20)


def slowly(api: FakeApi, name: str) -> None:
    """A pod that takes a moment to run."""
    time.sleep(0.3)
    runs(api, name)


if __name__ == "__main__":
    unittest.main()
