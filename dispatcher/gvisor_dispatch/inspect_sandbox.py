"""Inspect's sandbox "gvisor": that of inspect_k8s_sandbox, once its pods were seen to run in gVisor.

In a task: sandbox="gvisor", or sandbox=("gvisor", "values.yaml"). Needs `pip install gvisor-dispatch[inspect]`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

from inspect_ai.util import sandboxenv
from k8s_sandbox import K8sSandboxEnvironment
from kubernetes import client
from kubernetes import config as kubeconfig

from .dispatcher import AsyncDispatcher
from .errors import DispatchError, RetryLaterError
from .settings import Policy


@sandboxenv(name="gvisor")
class GVisorSandboxEnvironment(K8sSandboxEnvironment):  # type: ignore[misc, unused-ignore]
    """Installs a sample's release also while no node is proven, so that an autoscaler acts; not where gVisor fails. A
    sample gets no pod that `confirm_selected` does not confirm."""

    @classmethod
    async def sample_init(cls, task_name: str, config: Any, metadata: dict[str, str]) -> dict[str, Any]:  # noqa: ANN401
        load, context, loaded = cast("Any", kubeconfig), getattr(config, "context", None), client.Configuration()
        load.load_config(client_configuration=loaded, **({"context": context} if context else {}))
        async with AsyncDispatcher(client.ApiClient(loaded)) as dispatcher:
            with suppress(RetryLaterError):
                await dispatcher.decide(None, Policy.REQUIRE, "")
            try:
                environments: dict[str, Any] = await super().sample_init(task_name, config, metadata)
            except Exception as error:
                raise RuntimeError(f"{error}\ngVisor now: {await state_of_gvisor(dispatcher)}") from error
            try:
                release = next(iter(environments.values())).release
                selector = f"app.kubernetes.io/instance={release.release_name}"
                await dispatcher.confirm_selected(release.namespace, selector)
            except Exception:
                await cls.sample_cleanup(task_name, config, environments, False)
                raise
        return environments


async def state_of_gvisor(dispatcher: AsyncDispatcher) -> str:
    try:
        found = await dispatcher.ask()
    except DispatchError as error:
        return str(error)
    return f"{found.reason}: {found.message}"
