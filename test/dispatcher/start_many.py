"""Starts many evaluations at once, and prints what became of each as JSON:
python start_many.py NAMESPACE IMAGE COUNT MAX_STARTING, the last a number, "learnt" or "none"."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import Any

from gvisor_dispatch import AsyncDispatcher, DispatchError, Policy, Settings
from kubernetes import client, config

NAMESPACE, IMAGE, COUNT, MAX_STARTING = sys.argv[1:]
SETTINGS = Settings(
    max_starting=None if MAX_STARTING == "none" else MAX_STARTING if MAX_STARTING == "learnt" else int(MAX_STARTING)  # type: ignore[arg-type]
)
# An evaluation that works for a moment.
COMMAND = ["sh", "-c", "for n in 1 2 3; do cat /proc/version; sleep 1; done"]
load: Any = config
load.load_config()
core: Any = client.CoreV1Api()


async def evaluate(dispatcher: AsyncDispatcher, at: int) -> dict[str, object]:
    container = {"name": "evaluation", "image": IMAGE, "command": COMMAND}
    container["resources"] = {"requests": {"cpu": "1m", "memory": "1Mi"}}  # type: ignore[assignment]
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    pod = {"metadata": {"name": f"evaluation-{at}", "namespace": NAMESPACE}, "spec": spec}
    called = time.monotonic()
    try:
        await dispatcher.dispatch(pod, Policy.REQUIRE)
    except DispatchError as error:
        return {"error": error.reason}
    started = time.monotonic() - called
    while True:
        seen = await asyncio.to_thread(core.read_namespaced_pod, f"evaluation-{at}", NAMESPACE)
        if seen.status.phase in ("Succeeded", "Failed"):
            break
        await asyncio.sleep(2)
    state = seen.status.container_statuses[0].state.terminated
    scheduled = next(one.last_transition_time for one in seen.status.conditions if one.type == "PodScheduled")
    seconds = (state.started_at - scheduled).total_seconds() if isinstance(scheduled, datetime) else None
    return {"phase": seen.status.phase, "called": started, "scheduled": seconds, "ended": time.monotonic() - called}


async def main() -> None:
    async with AsyncDispatcher(client.ApiClient(), SETTINGS) as dispatcher:
        print(json.dumps(await asyncio.gather(*(evaluate(dispatcher, at) for at in range(int(COUNT))))))


asyncio.run(main())
