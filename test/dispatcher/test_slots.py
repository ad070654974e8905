"""`max_starting`: how many pods of one dispatcher start at the same time."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import unittest
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from unittest import mock

from case import PATIENCE, QUICK, ApiCase
from cluster_objects import container, pod, rejects, unschedulable
from fake_api import FakeApi
from gvisor_dispatch import AsyncDispatcher, Dispatcher, Policy, RetryLaterError, Settings
from gvisor_dispatch.slots import FORGET_SECONDS, Slots, Turn

SANDBOX = [{"type": "PodReadyToStartContainers", "status": "True"}]
RUNNING = {"phase": "Running", "containerStatuses": [container("running")]}
# How long nothing more must happen.
QUIET = 0.4
Task = asyncio.Task[object]


def bound_to(*nodes: str) -> Callable[[FakeApi, str], None]:
    """A scheduler that takes the nodes in turn, and kubelets that take their time."""
    turns = itertools.cycle(nodes)
    return lambda api, name: api.update(name, spec={"nodeName": next(turns)})


class SlotsTest(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.kubelet = bound_to("node-1")

    @asynccontextmanager
    async def starting(self, calls: int, most: int, policy: Policy = Policy.REQUIRE) -> AsyncIterator[list[object]]:
        """So many calls; the outcomes of those that have ended. The others are cancelled."""
        settings = Settings(**QUICK, max_starting=most)
        outcomes: list[object] = []
        async with AsyncDispatcher(self.api.client(), settings) as dispatcher:

            async def call(at: int) -> None:
                try:
                    outcomes.append((await dispatcher.dispatch(pod(f"eval-{at}"), policy)).name)
                except RetryLaterError as error:
                    outcomes.append(error.reason)

            tasks = await self.begin(call, calls)
            yield outcomes
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self, call: Callable[[int], Coroutine[object, object, object]], calls: int) -> list[Task]:
        """Each begins once the one before waits for its turn."""
        tasks: list[Task] = []
        end = time.monotonic() + 5 * PATIENCE
        with mock.patch.object(Slots, "queue", autospec=True, side_effect=Slots.queue) as queue:
            for at in range(calls):
                tasks.append(asyncio.create_task(call(at)))
                while queue.call_count <= at and time.monotonic() < end:
                    await asyncio.sleep(0.01)
        return tasks

    async def created(self, expected: int) -> list[str]:
        """The names of all that were created, once they are so many and no more."""
        end = time.monotonic() + 5 * PATIENCE
        while len(self.api.created) < expected and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await asyncio.sleep(QUIET)
        names = [one["metadata"]["name"] for one in self.api.created]
        self.assertEqual(len(names), expected, names)
        return names

    async def ended(self, outcomes: list[object], expected: list[object]) -> None:
        end = time.monotonic() + 5 * PATIENCE
        while outcomes != expected and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self.assertEqual(outcomes, expected)

    def test_the_next_is_created_once_a_sandbox_stands_and_in_the_order_of_the_calls(self) -> None:
        async def check() -> None:
            async with self.starting(5, 2) as outcomes:
                self.assertEqual(sorted(await self.created(2)), ["eval-0", "eval-1"])
                self.api.update("eval-1", {"conditions": SANDBOX})  # and it pulls its image
                self.assertEqual((await self.created(3))[2:], ["eval-2"])
                self.api.update("eval-0", RUNNING)  # an old kubelet says no more
                self.assertEqual((await self.created(4))[3:], ["eval-3"])
                await self.ended(outcomes, ["eval-0"])

        asyncio.run(check())

    def test_the_limit_is_that_of_a_node(self) -> None:
        async def check() -> None:
            self.api.kubelet = bound_to("node-1", "node-2")
            async with self.starting(9, 2):
                await self.created(4)

        asyncio.run(check())

    def test_what_no_node_takes_holds_nobody_up(self) -> None:
        async def check() -> None:
            self.api.kubelet = unschedulable
            async with self.starting(6, 1, Policy.WAIT):
                await self.created(6)
                for at in range(3):  # the autoscaler's node takes three at once, which are more than one already
                    self.api.update(f"eval-{at}", {"conditions": []}, {"nodeName": "node-1"})

        asyncio.run(check())

    def test_what_ends_in_any_way_makes_room(self) -> None:
        async def check() -> None:
            self.api.kubelet = lambda api, name: rejects(api, name, "OutOfcpu", "no")
            async with self.starting(3, 1) as outcomes:
                await self.created(9)  # each is tried three times
                await self.ended(outcomes, ["PodRejected"] * 3)

        asyncio.run(check())

    def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place(self) -> None:
        async def check() -> None:
            settings = Settings(**QUICK, max_starting=1)
            async with AsyncDispatcher(self.api.client(), settings) as dispatcher:
                calls = await self.begin(lambda at: dispatcher.dispatch(pod(f"eval-{at}"), Policy.REQUIRE), 3)
                await self.created(1)
                calls[1].cancel()
                self.api.update("eval-0", RUNNING)
                self.assertEqual(await self.created(2), ["eval-0", "eval-2"])
                self.api.update("eval-2", RUNNING)
                await asyncio.gather(*calls, return_exceptions=True)

        asyncio.run(check())

    def test_a_turn_that_does_not_come_creates_nothing(self) -> None:
        settings = Settings(**{**QUICK, "wait_deadline": 0.5}, max_starting=1)
        with Dispatcher(self.api.client(), settings) as dispatcher, ThreadPoolExecutor(1) as threads:
            first = threads.submit(dispatcher.dispatch, pod("eval-0"), Policy.REQUIRE)
            asyncio.run(self.created(1))
            with self.assertRaisesRegex(RetryLaterError, "NoStartSlot: 1 pods? .* of 1 that may"):
                dispatcher.dispatch(pod("eval-1"), Policy.REQUIRE)
            self.assertEqual(asyncio.run(self.created(1)), ["eval-0"])
            self.api.update("eval-0", RUNNING)
            self.assertEqual(first.result().name, "eval-0")

    def test_threads_share_the_limit(self) -> None:
        with (
            Dispatcher(self.api.client(), Settings(**QUICK, max_starting=2)) as dispatcher,
            ThreadPoolExecutor(4) as threads,
        ):
            calls = [threads.submit(dispatcher.dispatch, pod(f"eval-{at}"), Policy.REQUIRE) for at in range(4)]
            for there in (2, 4):
                for name in asyncio.run(self.created(there)):
                    self.api.update(name, RUNNING)
            self.assertEqual(len({call.result().name for call in calls}), 4)


class LearnTest(unittest.TestCase):
    """Without an API server, by a clock of the test."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.enterContext(mock.patch("gvisor_dispatch.slots.time.monotonic", lambda: self.now))
        self.slots = Slots("learnt")
        self.waiting: list[Turn] = []

    def room(self) -> int:
        """How many may start now, from none."""
        turns = [Turn(self.slots) for _ in range(1000)]
        came = [turn for turn in turns if self.enters(turn)]
        for turn in came:
            turn.give_back()
        return len(came)

    def enters(self, turn: Turn) -> bool:
        self.slots.queue(turn)
        came = self.slots.enter(turn) == 0
        self.slots.unqueue(turn)
        return came

    def boots(self, rounds: int, seconds_of: Callable[[int], float], node: str = "node-1") -> None:
        """Rounds of as many pods as may start, which take a time by their number."""
        for _ in range(rounds):
            turns = [Turn(self.slots) for _ in range(self.room())]
            for turn in turns:
                asyncio.run(turn.take(mock.Mock(), self.now))
            self.now += seconds_of(len(turns))
            for turn in turns:
                turn.sees({"spec": {"nodeName": node}, "metadata": {}, "status": {"conditions": []}})
                turn.sees({"spec": {"nodeName": node}, "metadata": {}, "status": {"conditions": SANDBOX}})

    def test_it_grows_while_boots_stay_quick_and_settles_where_they_become_slow(self) -> None:
        self.assertEqual(self.room(), 4)
        self.boots(40, lambda count: max(1.0, count / 8))  # eight at once are as quick as one, 16 take twice as long
        self.assertIn(self.room(), range(11, 19))

    def test_it_doubles_until_the_first_slow_boot(self) -> None:
        rooms = []
        for _ in range(5):
            self.boots(1, lambda count: 1.0 if count < 64 else 3.0)
            rooms.append(self.room())
        self.assertEqual(rooms, [8, 16, 32, 64, 51])

    def test_it_shrinks_to_one_at_the_least(self) -> None:
        self.boots(1, lambda _: 1.0)
        self.boots(60, lambda count: 3.0 * count)
        self.assertEqual(self.room(), 1)

    def test_each_node_has_a_quickest_boot_of_its_own(self) -> None:
        self.boots(4, lambda _: 0.5, "quick")
        before = self.room()
        self.boots(1, lambda _: 5.0, "slow")
        self.assertGreaterEqual(self.room(), before)

    def test_a_node_without_a_new_pod_is_forgotten(self) -> None:
        self.slots = Slots(3)
        self.boots(1, lambda _: 1.0, "node-1")
        self.boots(1, lambda _: 1.0, "node-2")
        self.assertEqual(self.room(), 6)
        self.now += FORGET_SECONDS / 2
        self.boots(1, lambda _: 1.0, "node-2")
        self.now += FORGET_SECONDS / 2
        self.assertEqual(self.room(), 3)

    def test_an_adopted_pod_teaches_nothing(self) -> None:
        self.boots(1, lambda _: 1.0)
        before = self.room()
        for state in ([], SANDBOX):
            Turn(self.slots).sees({"spec": {"nodeName": "node-1"}, "metadata": {}, "status": {"conditions": state}})
        self.boots(1, lambda _: 1.0)
        self.assertGreaterEqual(self.room(), before)

    def test_a_fork_has_none_of_its_parents_calls(self) -> None:
        self.slots = Slots(1)
        self.assertTrue(self.enters(Turn(self.slots)))
        self.assertFalse(self.enters(Turn(self.slots)))
        with mock.patch("gvisor_dispatch.slots.os.getpid", lambda: 1):
            self.assertTrue(self.enters(Turn(self.slots)))

    def test_other_limits_are_refused(self) -> None:
        for most in (0, -1, 1.5, True, "learned", "4"):
            with self.subTest(most=most), self.assertRaisesRegex(ValueError, 'max_starting is .*"learnt"'):
                Slots(most)  # type: ignore[arg-type]

    def test_threads_never_enter_together(self) -> None:
        slots, most, inside, seen = Slots(3), 3, [0], [0]
        lock = threading.Lock()

        def one() -> None:
            with Turn(slots) as turn:
                while not self.enters_in(slots, turn):
                    time.sleep(0.001)
                with lock:
                    inside[0] += 1
                    seen[0] = max(seen[0], inside[0])
                time.sleep(0.002)
                with lock:
                    inside[0] -= 1

        with ThreadPoolExecutor(16) as threads:
            for done in [threads.submit(one) for _ in range(200)]:
                done.result()
        self.assertEqual(seen[0], most)

    def enters_in(self, slots: Slots, turn: Turn) -> bool:
        slots.queue(turn)
        came = slots.enter(turn) == 0
        slots.unqueue(turn)
        return came
