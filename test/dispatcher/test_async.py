"""Many jobs at once, and cancelled ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

from case import PATIENCE, QUICK, ApiCase
from cluster_objects import pod, pulls, runs, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import AsyncDispatcher, ConflictError, Dispatcher, Policy, RetryLaterError, Settings

JOBS = 60
# Starts many pods in a process of its own; prints how many run in gVisor, and the largest number of its threads.
MANY = """
import asyncio, json, logging, sys, threading
from concurrent.futures import ThreadPoolExecutor
from kubernetes import client
from gvisor_dispatch import AsyncDispatcher, Dispatcher, Policy, Settings
logging.basicConfig(level=logging.WARNING)
kind, url, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
api, settings = client.ApiClient(client.Configuration(host=url)), Settings(start_deadline=60)
def pod(at):
    spec = {"containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"name": f"eval-{at}", "namespace": "evals"}, "spec": spec}
most = 0
async def count_threads():
    global most
    while True:
        most = max(most, threading.active_count())
        await asyncio.sleep(0.02)
async def in_tasks():
    counting = asyncio.create_task(count_threads())
    async with AsyncDispatcher(api, settings) as dispatcher:
        found = await asyncio.gather(*(dispatcher.dispatch(pod(at), Policy.REQUIRE) for at in range(jobs)))
    counting.cancel()
    return found
def in_threads():
    with Dispatcher(api, settings) as dispatcher, ThreadPoolExecutor(jobs) as threads:
        return list(threads.map(lambda at: dispatcher.dispatch(pod(at), Policy.REQUIRE), range(jobs)))
found = asyncio.run(in_tasks()) if kind == "tasks" else in_threads()
print(json.dumps([sum(one.in_gvisor for one in found), most]))
"""


def after_all_are_created(api: FakeApi, name: str) -> None:
    """Starts the pods together, so that all their watches are open at once."""
    while len(api.created) < JOBS:
        time.sleep(0.05)
    runs(api, name)


class ManyTest(ApiCase):
    def many(self, kind: str) -> tuple[int, int, str]:
        self.api.kubelet = after_all_are_created
        command = [sys.executable, "-B", "-c", MANY, kind, self.api.url, str(JOBS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        in_gvisor, threads = json.loads(done.stdout)
        return in_gvisor, threads, done.stderr

    def test_many_tasks_need_one_thread_and_log_nothing(self) -> None:
        self.assertEqual(self.many("tasks"), (JOBS, 1, ""))
        self.assertEqual(len(self.api.created), JOBS)

    def test_many_threads_log_nothing(self) -> None:
        self.assertEqual(self.many("threads"), (JOBS, 0, ""))


class CloseTest(ApiCase):
    """Many calls at once, in threads and in tasks: most wait in a watch, and more are queued than begin."""

    def check(self, ended: list[object]) -> None:
        self.assertEqual({getattr(one, "reason", one) for one in ended}, {"DispatcherClosed"})
        self.assertEqual(self.api.pods, {})

    def setUp(self) -> None:
        super().setUp()
        self.api.kubelet, self.api.silent_watches = unschedulable, True
        # A call that waited for the end of its watch would take an hour.
        self.settings = Settings(wait_deadline=7200)
        self.enterContext(mock.patch("gvisor_dispatch.api.WATCH_SECONDS", 3600))

    def all_wait(self) -> bool:
        return len(self.api.requests("watch=")) >= 8

    def test_close_ends_the_calls_of_all_threads(self) -> None:
        def call(at: int) -> object:
            try:
                return dispatcher.dispatch(pod(f"eval-{at}"), Policy.WAIT)
            except RetryLaterError as error:
                return error

        with ThreadPoolExecutor(8) as threads, Dispatcher(self.api.client(), self.settings) as dispatcher:
            calls = [threads.submit(call, at) for at in range(20)]
            while not self.all_wait():
                time.sleep(0.01)
        self.check([one.result() for one in calls])
        self.assertEqual((len(self.api.created), len(self.api.requests("runtimeclasses"))), (8, 8))

    def test_close_ends_all_tasks(self) -> None:
        async def close_early() -> None:
            async with AsyncDispatcher(self.api.client(), self.settings) as dispatcher:
                calls = [asyncio.ensure_future(dispatcher.dispatch(pod(f"eval-{at}"), Policy.WAIT)) for at in range(8)]
                while not self.all_wait():
                    await asyncio.sleep(0.01)
            self.check(await asyncio.gather(*calls, return_exceptions=True))

        asyncio.run(close_early())


class CancelTest(ApiCase, unittest.IsolatedAsyncioTestCase):
    def async_dispatcher(self, **settings: Any) -> AsyncDispatcher:  # noqa: ANN401
        return AsyncDispatcher(self.api.client(), Settings(**{**QUICK, "schedule_deadline": 3600, **settings}))

    async def cancelled(self, dispatcher: AsyncDispatcher, pattern: str) -> None:
        """Cancels a call once the API server has had a request, and waits for its end."""
        task = asyncio.create_task(dispatcher.dispatch(pod(), Policy.REQUIRE))
        while not self.api.requests(pattern):
            await asyncio.sleep(0.01)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    async def test_a_cancelled_call_ends_at_once_and_removes_its_pod(self) -> None:
        self.api.kubelet = unschedulable
        async with self.async_dispatcher() as dispatcher:
            await self.cancelled(dispatcher, "watch=")
            self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    async def test_a_cancelled_call_whose_pod_cannot_be_removed_says_so(self) -> None:
        self.api.kubelet = unschedulable
        self.api.fail("DELETE", "", 403)
        async with self.async_dispatcher() as dispatcher:
            with self.assertLogs("gvisor_dispatch", "WARNING") as logs:
                await self.cancelled(dispatcher, "watch=")
        self.assertIn("evals/eval-1 may start later, as it could not be removed: ", logs.output[0])

    async def test_a_removal_that_outlasts_close_says_so(self) -> None:
        self.api.kubelet = unschedulable
        self.enterContext(mock.patch("fake_api.Response.delete", lambda *_: (time.sleep(2), (200, {}))[1]))
        dispatcher = self.async_dispatcher()
        with mock.patch("gvisor_dispatch.dispatcher.ENDING_SECONDS", 1):
            call = asyncio.ensure_future(dispatcher.dispatch(pod(), Policy.WAIT))
            while not self.api.requests("watch="):
                await asyncio.sleep(0.01)
            with self.assertLogs("gvisor_dispatch", "WARNING") as logs:
                await dispatcher.close()
                with self.assertRaisesRegex(RetryLaterError, "DispatcherClosed"):
                    await call
        self.assertIn("evals/eval-1 may start later, as it could not be removed: ", logs.output[0])

    async def test_a_pod_that_was_being_created_is_gone_when_the_task_has_ended(self) -> None:
        self.api.kubelet = unschedulable
        create = self.api.add_pod
        self.api.add_pod = lambda *args: (time.sleep(0.5), create(*args))[1]  # type: ignore[method-assign]
        async with self.async_dispatcher() as dispatcher:
            await self.cancelled(dispatcher, "POST")
            self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    async def test_cancel_keeps_what_has_started_and_what_is_not_its_own(self) -> None:
        async with self.async_dispatcher() as dispatcher:
            self.assertIsNone(await dispatcher.cancel(pod()))
            await dispatcher.dispatch(pod(), Policy.REQUIRE)
            left = await dispatcher.cancel(pod())
            self.assertEqual(left and (left.name, left.in_gvisor), ("eval-1", True))
            with self.assertRaisesRegex(ConflictError, "NameTaken"):
                await dispatcher.cancel(pod(), "another")
        self.assertEqual(list(self.api.pods), ["eval-1"])

    async def test_other_tasks_run_while_one_waits(self) -> None:
        self.api.kubelet = pulls
        async with self.async_dispatcher(start_deadline=1) as dispatcher:
            waiting = asyncio.create_task(dispatcher.dispatch(pod(), Policy.REQUIRE))
            answers = [await dispatcher.ask() for _ in range(5)]
            self.assertTrue(all(one.available for one in answers))
            self.assertFalse(waiting.done())
            with self.assertRaisesRegex(Exception, "StartDeadlineExceeded"):
                await waiting
