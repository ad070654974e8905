"""An API server with faults, lost watches, and interrupted callers."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from case import PATIENCE, ApiCase, SoftTimeLimitExceeded
from cluster_objects import BAD, Json, node, pod, pulls, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import DispatchError, Policy, RetryLaterError


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

    def test_a_deletion_that_fails_once_is_repeated(self) -> None:
        self.api.kubelet = unschedulable
        self.api.fail("DELETE", "/pods/eval-1", 500)
        self.assertEqual(self.outcome(Policy.REQUIRE, schedule_deadline=0.4), ("RetryLaterError", "Unschedulable"))
        self.assertEqual(self.api.pods, {})

    def test_a_creation_whose_response_is_lost_is_adopted(self) -> None:
        for status in (0, 500):
            with self.subTest(status=status), FakeApi() as self.api:
                self.api.fail("POST", "/pods", status, late=True)
                self.assertTrue(self.call().adopted)
                self.assertEqual(len(self.api.created), 1)

    def test_it_waits_for_retry_after(self) -> None:
        self.api.fail("GET", "/nodes", 429, headers={"Retry-After": "2"})
        with self.assertLogs("gvisor_dispatch", "INFO") as said:
            self.assertTrue(self.call().in_gvisor)
        self.assertIn("trying again in 2.0 s", "".join(said.output))

    def test_it_does_not_wait_for_an_hour(self) -> None:
        self.api.fail("GET", "/nodes", 429, headers={"Retry-After": "3600"})
        with self.assertRaisesRegex(RetryLaterError, "ApiUnavailable"):
            self.call(api_deadline=3500)
        self.assertEqual(len(self.api.requests("/nodes")), 1)

    def test_an_api_server_that_does_not_recover_is_an_error_and_never_a_fallback(self) -> None:
        self.api.nodes = [BAD]
        for path, action in (("/nodes", "list nodes"), ("/namespaces/evals$", "read namespace evals")):
            self.api.faults.clear()
            self.api.fail("GET", path, 500, times=99)
            with self.assertRaisesRegex(RetryLaterError, f"cannot {action}: 500 a fault of the test; given up"):
                self.call(Policy.PREFER, api_deadline=1)
        self.assertEqual(self.api.created, [])

    def test_conflicts_without_a_pod_end(self) -> None:
        """Such as those of a quota that changes all the time."""
        for found in (node("good"), BAD):
            self.api.nodes = [found]
            self.api.fail("POST", "/pods", 409, times=50)
            with self.assertRaisesRegex(RetryLaterError, "ApiConflict: cannot create pod evals/eval-1: 409"):
                self.call(Policy.PREFER)
        self.assertLess(len(self.api.requests("POST")), 10)

    def test_what_is_no_object_counts_as_no_response(self) -> None:
        for body in ([], "<html>", 1):
            for path in ("/nodes", "/pods/eval-1", "/runtimeclasses/"):
                with self.subTest(body=body, path=path), FakeApi() as self.api:
                    self.api.fail("GET", path, 200, body=body)
                    self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))

    def test_json_that_is_no_object_of_the_api_reaches_no_caller(self) -> None:
        """A proxy's, for example, which the next response corrects, or the deadline ends."""
        odd: list[Json] = [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"name": "x"}, "spec": []}]
        odd += [{"metadata": {}, "items": items} for items in ([1], [{}], [{"metadata": {}}])]
        meta = pod()["metadata"]
        calls: dict[str, Callable[[Any], object]] = {
            "ask": lambda dispatcher: dispatcher.ask(),
            "dispatch": lambda dispatcher: dispatcher.dispatch(pod(), Policy.PREFER),
            "create": lambda dispatcher: dispatcher.create(pod("eval-2"), Policy.PREFER),
            "explain": lambda dispatcher: dispatcher.explain({"metadata": meta}),
            "explain_selected": lambda dispatcher: dispatcher.explain_selected("evals", "a=b"),
            "cancel": lambda dispatcher: dispatcher.cancel(pod()),
        }
        for body in odd:
            for path in (
                "runtimeclasses",
                "nodes",
                "namespaces/evals$",
                "pods/eval-",
                "pods$",
                "pods.labelSelector",
                "events",
            ):
                for name, call in calls.items():
                    for status in (200, 403):
                        with self.subTest(name, path=path, body=body, status=status), FakeApi() as self.api:
                            self.api.nodes = [BAD]
                            self.api.add_pod(
                                "evals", {**pod(), "spec": {**pod()["spec"], "runtimeClassName": "gvisor"}}
                            )
                            runs(self.api, "eval-1")
                            self.api.fail("", path, status, times=99, body=body)
                            with contextlib.suppress(DispatchError), self.assertLogs("gvisor_dispatch", "WARNING"):
                                logging.getLogger("gvisor_dispatch").warning("at least one")
                                call(self.dispatcher(api_deadline=0.1))

    def test_credentials_that_expire_are_renewed_until_the_deadline(self) -> None:

        def expire(api: FakeApi, name: str) -> None:
            api.fail("GET", f"/pods/{name}", 401, times=3)
            slowly(api, name)

        self.api.kubelet = expire
        self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))

    def test_credentials_that_are_gone_are_the_callers_and_the_next_call_adopts_the_pod(self) -> None:
        self.api.fail("GET", "/", 401, times=99)
        self.assertEqual(self.outcome(Policy.PREFER), ("RefusedError", "ApiRefused"))
        self.assertEqual(len(self.api.received), 1)
        self.api.faults.clear()
        self.api.kubelet = lambda api, _: api.fail("", "", 401, times=999)
        self.assertEqual(self.outcome(Policy.PREFER, api_deadline=1), ("RefusedError", "ApiRefused"))
        self.api.faults.clear()
        runs(self.api, "eval-1")
        self.assertTrue(self.call(Policy.PREFER).adopted)
        self.assertEqual(len(self.api.created), 1)


class WatchTest(ApiCase):
    def test_an_odd_line_ends_a_watch_and_no_call(self) -> None:
        for line in (
            b"null",
            b"[]",
            b"{}",
            b"<html>",
            b'{"type": "MODIFIED"}',
            b'{"type": "MODIFIED", "object": null}',
            b'{"type": "MODIFIED", "object": {"metadata": {}, "spec": {"nodeName": "n"}, "status": "x"}}',
        ):
            with self.subTest(line), FakeApi() as self.api:
                self.api.odd_lines, self.api.kubelet = [line], slowly
                self.assertEqual(self.outcome(Policy.PREFER), ("gvisor", "Available"))
                self.assertEqual(self.api.odd_lines, [])

    def test_a_forbidden_watch_backs_off(self) -> None:
        self.api.kubelet = pulls
        self.api.fail("GET", "watch=", 403, times=999)
        self.later(5, lambda: self.api.update("eval-1", {"phase": "Running"}))
        self.assertTrue(self.call(start_deadline=30, node_interval=30).in_gvisor)
        self.assertLess(len(self.api.requests("watch=")), 12)

    def test_watches_that_end_at_once_or_expire_restart(self) -> None:
        for status in (0, 410):
            with self.subTest(status=status), FakeApi() as self.api:
                self.api.kubelet = slowly
                self.api.fail("GET", "watch=", status, times=3)
                self.assertTrue(self.call().in_gvisor)

    def test_a_silent_watch_ends(self) -> None:
        self.api.kubelet = slowly
        self.api.silent_watches = True
        with mock.patch("gvisor_dispatch.api.WATCH_SECONDS", 1):
            self.assertTrue(self.call(schedule_deadline=3600, start_deadline=3600).in_gvisor)


class InterruptionTest(ApiCase):
    """test_recipes.py has one while a pod is awaited."""

    def test_ctrl_c_while_a_pod_is_being_created_leaves_none(self) -> None:
        def interrupt() -> None:
            while not self.api.requests("POST"):
                time.sleep(0.01)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        create, self.api.kubelet = self.api.add_pod, unschedulable
        self.api.add_pod = lambda *args: (time.sleep(1), create(*args))[1]  # type: ignore[method-assign]
        self.later(0, interrupt)
        with self.assertRaises(KeyboardInterrupt):
            self.call()
        self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    def test_an_exception_of_a_signal_ends_the_repetition_of_a_request(self) -> None:
        self.api.fail("GET", "/nodes", 500, times=99)
        self.interrupt(0.5)
        with self.assertRaises(SoftTimeLimitExceeded):
            self.call(api_deadline=20)


def slowly(api: FakeApi, name: str) -> None:
    """A pod that takes a moment to run, and runs only after a watch has read the odd lines."""
    end = time.monotonic() + 30 * PATIENCE
    while api.odd_lines and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    runs(api, name)
