"""However a call ends, nothing of it starts later: cancellation in all its forms, signals, forks and event loops."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from unittest import mock

import anyio
import gvisor_dispatch
from case import PATIENCE, QUICK, ApiCase, SoftTimeLimitExceeded
from cluster_objects import pod, pulls, runs, unschedulable
from gvisor_dispatch import AsyncDispatcher, Dispatcher, DispatchError, Policy, Settings
from gvisor_dispatch.errors import ClosedError, RefusedError
from kubernetes import client

WAITING = Settings(wait_deadline=600, schedule_deadline=600)
# Waits for a pod that no node takes, in a process that gets signals.
CALL = """
import asyncio, sys
from kubernetes import client
from gvisor_dispatch import AsyncDispatcher, Dispatcher, Policy
api = client.ApiClient(client.Configuration(host=sys.argv[2]))
pod = {"metadata": {"name": "eval-1", "namespace": "evals"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
async def in_a_task():
    async with AsyncDispatcher(api) as dispatcher:
        await dispatcher.dispatch(pod, Policy.WAIT)
if sys.argv[1] == "task":
    asyncio.run(in_a_task())
else:
    Dispatcher(api).dispatch(pod, Policy.WAIT)
"""


class CancelledTaskTest(ApiCase):
    """Each test leaves a dispatch that waits for a node."""

    def setUp(self) -> None:
        super().setUp()
        self.api.kubelet = unschedulable

    async def until(self, pattern: str, times: int = 1) -> None:
        while len(self.api.requests(pattern)) < times:
            await asyncio.sleep(0.01)

    def check(self, body: Callable[[AsyncDispatcher], Awaitable[None]], created: int = 1) -> None:
        async def main() -> None:
            async with AsyncDispatcher(self.api.client(), WAITING) as dispatcher:
                await body(dispatcher)
                self.assertEqual((self.api.pods, len(self.api.created)), ({}, created))

        asyncio.run(main())

    def test_an_anyio_scope(self) -> None:
        async def body(dispatcher: AsyncDispatcher) -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    for at in range(10):
                        group.start_soon(dispatcher.dispatch, pod(f"eval-{at}"), Policy.WAIT)
                    await self.until("watch=", 10)
                    scope.cancel()

        self.check(body, created=10)

    def test_an_anyio_scope_while_the_pod_is_being_created(self) -> None:
        self.slow_creation()

        async def body(dispatcher: AsyncDispatcher) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(dispatcher.dispatch, pod(), Policy.WAIT)
                await self.until("POST")
                group.cancel_scope.cancel()

        self.check(body)

    def slow_creation(self) -> None:
        create = self.api.add_pod
        self.api.add_pod = lambda *args: (time.sleep(0.5), create(*args))[1]  # type: ignore[method-assign]

    def test_a_task_that_is_cancelled_again_and_again(self) -> None:
        for method in ("dispatch", "create"):
            for pattern in ("POST", "GET .*eval-1"):
                with self.subTest(method, pattern=pattern):
                    self.tearDown()
                    self.setUp()
                    self.slow_creation()

                    async def body(dispatcher: AsyncDispatcher, method: str = method, pattern: str = pattern) -> None:
                        task = asyncio.ensure_future(getattr(dispatcher, method)(pod(), Policy.WAIT))
                        await self.until("POST")
                        await self.until(pattern)
                        while not task.done():
                            task.cancel()
                            await asyncio.sleep(0.001)
                        self.assertTrue(task.cancelled())

                    self.check(body)

    def test_a_timeout(self) -> None:
        async def body(dispatcher: AsyncDispatcher) -> None:
            with self.assertRaises(TimeoutError):
                async with asyncio.timeout(0.5 * PATIENCE):
                    await dispatcher.dispatch(pod(), Policy.WAIT)
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(dispatcher.dispatch(pod("eval-2"), Policy.WAIT), 0.5 * PATIENCE)

        self.check(body, created=2)

    def test_the_end_of_the_event_loop(self) -> None:
        """`asyncio.run` cancels the tasks that are left, among them those of a removal."""

        async def main() -> None:
            dispatcher = AsyncDispatcher(self.api.client(), WAITING)
            task = asyncio.ensure_future(dispatcher.dispatch(pod(), Policy.WAIT))
            await self.until("POST")
            task.cancel()

        self.slow_creation()
        asyncio.run(main())
        self.assertEqual((self.api.pods, len(self.api.created)), ({}, 1))

    def test_a_dispatcher_in_one_event_loop_after_the_other(self) -> None:
        self.api.kubelet = runs
        dispatcher = AsyncDispatcher(self.api.client(), WAITING)

        async def use(name: str) -> bool | None:
            return (await dispatcher.dispatch(pod(name), Policy.REQUIRE)).in_gvisor

        self.assertEqual([asyncio.run(use(name)) for name in ("a", "b", "c")], [True] * 3)
        with ThreadPoolExecutor(3) as threads:
            found = threads.map(lambda name: asyncio.run(use(name)), ("d", "e", "f"))
            self.assertEqual(list(found), [True] * 3)


class SignalTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.kubelet = unschedulable

    def test_ctrl_c_twice(self) -> None:
        """The second while the pod is being removed, or created."""
        delete = self.api.remove
        self.api.remove = lambda name: (time.sleep(1), delete(name))[1]  # type: ignore[method-assign]
        create = self.api.add_pod
        self.api.add_pod = lambda *args: (time.sleep(1), create(*args))[1]  # type: ignore[method-assign]
        for kind in ("task", "thread"):
            for first, second in (("watch=", "DELETE"), ("POST", "POST")):
                with self.subTest(kind, first=first):
                    self.api.received.clear()
                    command = [sys.executable, "-B", "-c", CALL, kind, self.api.url]
                    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
                        for pattern in (first, second):
                            while not self.api.requests(pattern):
                                time.sleep(0.01)
                            running.send_signal(signal.SIGINT)
                            time.sleep(0.2)
                        running.communicate(timeout=300 * PATIENCE)
                    self.assertNotEqual(running.returncode, 0)
                    self.assertEqual(self.api.pods, {})

    def test_an_exception_of_a_signal_leaves_no_pod_that_starts_later(self) -> None:
        for method in ("dispatch", "create"):
            with self.subTest(method):
                self.interrupt(0.2, lambda: self.api.requests("POST"))
                create = self.api.add_pod
                self.api.add_pod = lambda *args, to=create: (time.sleep(1), to(*args))[1]  # type: ignore[method-assign]
                with self.assertRaises(SoftTimeLimitExceeded):
                    getattr(Dispatcher(self.api.client(), WAITING), method)(pod(), Policy.WAIT)
                self.assertEqual(self.api.pods, {})
                self.api.received.clear()

    def test_an_exception_of_a_signal_while_the_thread_of_a_creation_starts(self) -> None:
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            if threading.current_thread() is not threading.main_thread():
                return start(thread)
            with mock.patch("threading.Thread.start", start):
                if created:
                    thread.start()
                    while not self.api.requests("POST"):
                        time.sleep(0.01)
            patched.stop()
            raise KeyboardInterrupt

        create = self.api.add_pod
        self.api.add_pod = lambda *args: (time.sleep(0.5), create(*args))[1]  # type: ignore[method-assign]
        for created in (0, 1):
            with self.subTest(created=created), self.assertRaises(KeyboardInterrupt):
                patched = mock.patch("threading.Thread.start", interrupted)
                patched.start()
                Dispatcher(self.api.client(), WAITING).dispatch(pod(), Policy.WAIT)
            self.assertEqual((self.api.pods, len(self.api.created)), ({}, created))

    def test_a_pod_that_has_started_stays(self) -> None:
        self.api.kubelet = pulls
        self.later(0, self.start_once_watched)
        self.interrupt(0.5, lambda: self.api.pods.get("eval-1", {}).get("status", {}).get("phase") == "Running")
        self.api.fail("GET", "/pods/eval-1", 500, times=0)
        with self.assertRaises(SoftTimeLimitExceeded):
            self.dispatcher().dispatch(pod(), Policy.WAIT)
            time.sleep(5)
        self.assertEqual(list(self.api.pods), ["eval-1"])

    def start_once_watched(self) -> None:
        while not self.api.requests("watch="):
            time.sleep(0.01)
        runs(self.api, "eval-1")


def in_process(url: str, at: int) -> str:
    """A worker's job, in a process that was forked or spawned."""
    api = client.ApiClient(client.Configuration(host=url))
    return Dispatcher(api, Settings(**QUICK)).dispatch(pod(f"eval-{at}"), Policy.REQUIRE).name


SHARED: list[Dispatcher] = []


def with_shared(at: int) -> str:
    return SHARED[0].dispatch(pod(f"eval-{at}"), Policy.REQUIRE).name


class ProcessTest(ApiCase):
    def test_every_error_survives_a_process_pool_and_celerys_json(self) -> None:
        errors = [RefusedError("ApiRefused", "no", 403), ClosedError()]
        kinds = [kind for kind in vars(gvisor_dispatch).values() if isinstance(kind, type)]
        errors += [kind("R", "m") for kind in kinds if issubclass(kind, DispatchError)]
        self.assertGreater(len(errors), 7)
        for error in errors:
            for again in (pickle.loads(pickle.dumps(error)), type(error)(*error.args)):
                self.assertEqual((type(again), str(again)), (type(error), str(error)))
                self.assertEqual((again.reason, again.message), (error.reason, error.message))
        self.assertEqual(pickle.loads(pickle.dumps(errors[0])).status, 403)

    def test_an_error_breaks_no_pool(self) -> None:
        self.api.nodes = []
        for start in ("fork", "spawn"):
            context = multiprocessing.get_context(start)
            with ProcessPoolExecutor(2, context) as processes, self.assertRaises(DispatchError) as raised:
                processes.submit(in_process, self.api.url, 1).result(60 * PATIENCE)
            self.assertEqual(
                (type(raised.exception).__name__, raised.exception.reason), ("RetryLaterError", "NoReadyNode")
            )
            with context.Pool(1) as pool, self.assertRaisesRegex(DispatchError, "^NoReadyNode: "):
                pool.apply_async(in_process, (self.api.url, 1)).get(60 * PATIENCE)

    def test_a_dispatcher_that_was_used_before_a_fork_shares_no_connection(self) -> None:
        SHARED[:] = [Dispatcher(self.api.client(), Settings(**QUICK))]
        self.addCleanup(SHARED.clear)
        SHARED[0].ask()
        with ProcessPoolExecutor(8, multiprocessing.get_context("fork")) as processes:
            found = list(processes.map(with_shared, range(64)))
        self.assertEqual(found, [f"eval-{at}" for at in range(64)])
        self.assertEqual(sorted(one["metadata"]["name"] for one in self.api.created), sorted(found))
