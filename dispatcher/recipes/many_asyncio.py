"""200 evaluations with asyncio, each once in a pod of its own: python many_asyncio.py NAMESPACE IMAGE"""

import asyncio
import collections
import sys

from gvisor_dispatch import AsyncDispatcher, DispatchError, Policy, Settings
from kubernetes import client, config

NAMESPACE, IMAGE = sys.argv[1:]
config.load_config()
core, room = client.CoreV1Api(), asyncio.Semaphore(20)


async def evaluate(dispatcher: AsyncDispatcher, at: int) -> str:
    container = {"name": "evaluation", "image": IMAGE, "command": ["cat", "/proc/version"]}
    spec = {"restartPolicy": "Never", "activeDeadlineSeconds": 600, "containers": [container]}
    pod = {"metadata": {"name": f"evaluation-{at}", "namespace": NAMESPACE}, "spec": spec}
    async with room:
        try:
            started = await dispatcher.dispatch(pod, Policy.WAIT)
        except DispatchError as error:
            return error.reason
        try:  # the log ends with the pod
            said = await asyncio.to_thread(core.read_namespaced_pod_log, started.name, NAMESPACE, follow=True)
            return f"in gVisor: {started.in_gvisor}, kernel: {said.strip()}"
        finally:
            await asyncio.to_thread(core.delete_namespaced_pod, started.name, NAMESPACE)


async def main() -> None:
    async with AsyncDispatcher(client.ApiClient(), Settings(max_starting="learnt")) as dispatcher:
        said = await asyncio.gather(*(evaluate(dispatcher, at) for at in range(200)))
    print(*collections.Counter(said).items(), sep="\n")


asyncio.run(main())
