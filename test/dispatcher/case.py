"""What the tests share: a fake API server, a dispatcher with short times, and what came of a call."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any

from cluster_objects import pod
from fake_api import FakeApi
from gvisor_dispatch import AsyncDispatcher, Dispatcher, DispatchError, Policy, Settings, Started

# For what is never going to be.
SHORT = {"schedule_deadline": 0.4, "wait_deadline": 0.4, "start_deadline": 0.4, "remove_deadline": 0.4}


class InEventLoop:
    """Calls an AsyncDispatcher, each time in an event loop of its own, as a Dispatcher is called."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        self._args = args

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(*args: object) -> object:
            async with AsyncDispatcher(*self._args) as dispatcher:
                return await getattr(dispatcher, method)(*args)

        return lambda *args: asyncio.run(call(*args))


# How much longer than on a quiet machine a test waits before it gives up, as hack/run.ts has it.
PATIENCE = float(os.environ.get("PATIENCE", "1"))

# The same tests run with both classes: see python.test.ts.
DISPATCHER: Any = InEventLoop if os.environ.get("GVISOR_DISPATCH_TESTS") == "asyncio" else Dispatcher

QUICK = {
    "schedule_deadline": 5 * PATIENCE,
    "wait_deadline": 5 * PATIENCE,
    "start_deadline": 5 * PATIENCE,
    "remove_deadline": 5 * PATIENCE,
    "api_deadline": 5 * PATIENCE,
    "node_interval": 0.3,
}


class SoftTimeLimitExceeded(Exception):  # noqa: N818
    """Celery raises it in a handler of SIGUSR1: https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits"""


class ApiCase(unittest.TestCase):
    """Each test has a fake API server of its own as `self.api`."""

    def setUp(self) -> None:
        self.api = FakeApi()
        self.enterContext(self.api)

    def dispatcher(self, **settings: Any) -> Dispatcher:  # noqa: ANN401
        found: Dispatcher = DISPATCHER(self.api.client(), Settings(**{**QUICK, **settings}))
        return found

    def call(self, policy: Policy = Policy.REQUIRE, dispatch_id: str = "", **settings: Any) -> Started:  # noqa: ANN401
        return self.dispatcher(**settings).dispatch(pod(), policy, dispatch_id)

    def outcome(self, policy: Policy, **settings: Any) -> tuple[str, str]:  # noqa: ANN401
        """ "gvisor", "host" or the error's class; and the reason."""
        try:
            started = self.call(policy, **settings)
        except DispatchError as error:
            return type(error).__name__, error.reason
        return ("gvisor" if started.in_gvisor else "host"), started.reason

    def on_host(self) -> list[str]:
        """Names of the pods that were ever created without gVisor."""
        return [one["metadata"]["name"] for one in self.api.created if not one["spec"].get("runtimeClassName")]

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, act)
        timer.start()
        self.addCleanup(timer.join)

    def interrupt(self, seconds: float, when: Callable[[], object] = lambda: True) -> None:
        """Raises SoftTimeLimitExceeded in the main thread, a while after the condition holds."""

        def exceeded(*_: object) -> None:
            raise SoftTimeLimitExceeded

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, exceeded))

        def interrupt() -> None:
            while not when():
                time.sleep(0.01)
            time.sleep(seconds)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        self.later(0, interrupt)
