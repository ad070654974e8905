"""How many pods of a dispatcher start on a node at the same time. Sandboxes that boot together take each other's
processors: each is later, and on a full node some time out and begin again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Literal, Self

from .api import Api
from .errors import RetryLaterError
from .nodes import condition
from .pods import Json, has_outcome

log = logging.getLogger("gvisor_dispatch")

LEARNT: Literal["learnt"] = "learnt"
# Of LEARNT, until boots were measured.
FIRST_LIMIT = 4.0
# A boot is slow if it takes longer than this, as a multiple of the quickest on its node.
SLOW = 2
# How much of the limit is left after a slow boot.
LESS = 0.8
# Time in seconds after which a node without a new pod is forgotten, since its pool may have shrunk.
FORGET_SECONDS = 600
# Between two looks of a call that waits for its turn, and of one that has long to wait: hundreds may.
LOOK_SECONDS, FAR_LOOK_SECONDS = 0.05, 0.25


class Turn:
    """One call's place among those that start."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        # From when its boot is measured; None where that is not known, as of an adopted pod.
        self._entered_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    async def take(self, api: Api, until: float) -> None:
        """Waits until a pod may start, in the order in which calls came here. Raises RetryLaterError at `until`."""
        self.give_back()
        self._slots.queue(self)
        try:
            while wait := self._slots.enter(self):
                if time.monotonic() > until:
                    raise RetryLaterError("NoStartSlot", f"{self._slots.told()}, and this one's turn did not come")
                await api.sleep(wait)
        finally:
            self._slots.unqueue(self)
        self._entered_at = time.monotonic()

    def sees(self, pod: Json) -> Json:
        """Takes each state of the pod, and returns it. A turn lasts until the sandbox stands, since an image is pulled
        after that; but not while no node takes the pod: it keeps no processor busy then, and an autoscaler must see all
        that wait."""
        node = pod["spec"].get("nodeName")
        if has_sandbox(pod) or has_outcome(pod):
            if node and self._entered_at is not None:
                self._slots.learn(node, self._entered_at)
            self.give_back()
        elif node:
            self._slots.boots(self, node)
        elif is_unschedulable(pod):
            self.give_back()
        return pod

    def give_back(self) -> None:
        self._entered_at = None
        self._slots.leave(self)


class Slots:
    """Shared by the threads and tasks of a dispatcher. The scheduler chooses the node, so the limit holds for the mean
    of the nodes on which pods of this dispatcher started lately."""

    def __init__(self, most: int | Literal["learnt"] | None) -> None:
        if most not in (None, LEARNT) and (type(most) is not int or most < 1):
            raise ValueError(f'max_starting is {most!r}, and must be a whole number from 1 on, "learnt" or None')
        self._most = most
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._process = os.getpid()
        self._limit = FIRST_LIMIT if isinstance(self._most, str) else float(self._most or 0)
        self._waiting: deque[Turn] = deque()
        self._starting: set[Turn] = set()
        self._lowered_at: float | None = None
        # Whether the last that entered took the last slot.
        self._full = False
        # Of each node: its quickest boot in seconds, and when a pod came there.
        self._quickest: dict[str, float] = {}
        self._used: dict[str, float] = {}

    def queue(self, turn: Turn) -> None:
        with self._lock:
            if self._process != os.getpid():  # a fork has none of its parent's calls
                self._clear()
            self._waiting.append(turn)

    def unqueue(self, turn: Turn) -> None:
        with self._lock:
            self._waiting.remove(turn)

    def enter(self, turn: Turn) -> float:
        """0 if this turn has come, and starts; else after how many seconds to ask again."""
        with self._lock:
            if self._most is None:
                return 0
            room, place = self._room(), self._waiting.index(turn)
            if place > 0 or len(self._starting) >= room:
                return LOOK_SECONDS if place < room else FAR_LOOK_SECONDS
            self._starting.add(turn)
            self._full = len(self._starting) >= room
            return 0

    def boots(self, turn: Turn, node: str) -> None:
        """It counts, even if its turn was given back or never taken."""
        with self._lock:
            if self._most is not None:
                self._starting.add(turn)
                self._used[node] = time.monotonic()

    def leave(self, turn: Turn) -> None:
        with self._lock:
            self._starting.discard(turn)

    def learn(self, node: str, entered_at: float) -> None:
        """Of a sandbox that stands now. A slow one lowers the limit, but not those that began before it was lowered. A
        quick one raises it where all slots are in use: twofold in a round until the first slow one, then by one."""
        with self._lock:
            seconds = time.monotonic() - entered_at
            quickest = min(seconds, self._quickest.get(node, seconds))
            self._quickest[node] = quickest
            if not isinstance(self._most, str):
                return
            if seconds <= SLOW * quickest:
                rise = 1 if self._lowered_at is None else 1 / self._limit
                self._limit += rise if self._full else 0
            elif self._lowered_at is None or entered_at > self._lowered_at:
                self._limit = max(1.0, self._limit * LESS)
                self._lowered_at = time.monotonic()
            log.debug("%s: a sandbox took %.2f s, the quickest %.2f s", node, seconds, quickest)

    def told(self) -> str:
        with self._lock:
            return f"{len(self._starting)} pods of this dispatcher start now, of {self._room()} that may"

    def _room(self) -> int:
        before = time.monotonic() - FORGET_SECONDS
        for node in [node for node, at in self._used.items() if at < before]:
            del self._used[node]
            self._quickest.pop(node, None)
        return max(1, int(self._limit)) * max(1, len(self._used))


def is_unschedulable(pod: Json) -> bool:
    return condition(pod, "PodScheduled").get("status") == "False"


def has_sandbox(pod: Json) -> bool:
    """From Kubernetes 1.29 on.
    https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-has-network"""
    return condition(pod, "PodReadyToStartContainers").get("status") == "True"
