"""A sandbox of inspect_k8s_sandbox whose pods were seen to run in gVisor, with that package's own Helm chart.

In a task: sandbox=("gvisor", "values.yaml"). Needs `pip install inspect-k8s-sandbox`, and an import of this file.
"""

from __future__ import annotations

from typing import Any, cast

from gvisor_dispatch import AsyncDispatcher
from inspect_ai.util import sandboxenv
from k8s_sandbox import K8sSandboxEnvironment
from kubernetes import client, config


@sandboxenv(name="gvisor")
class GVisorSandboxEnvironment(K8sSandboxEnvironment):  # type: ignore[misc, unused-ignore]
    """Asks before a sample's release is installed, and explains its pods before the sample runs."""

    @classmethod
    async def sample_init(cls, task_name: str, given: Any, metadata: dict[str, str]) -> dict[str, Any]:  # noqa: ANN401
        load, context = cast("Any", config), getattr(given, "context", None)
        load.load_config(**({"context": context} if context else {}))
        async with AsyncDispatcher(client.ApiClient()) as dispatcher:
            found = await dispatcher.ask()
            if not found.available:
                raise RuntimeError(f"no sandbox was started: {found.reason}: {found.message}")
            environments: dict[str, Any] = await super().sample_init(task_name, given, metadata)
            release = next(iter(environments.values())).release
            selector = f"app.kubernetes.io/instance={release.release_name}"
            pods = await dispatcher.explain_selected(release.namespace, selector)
        outside = [f"{name}: {one.reason}: {one.message}" for name, one in pods.items() if not one.in_gvisor]
        if outside:
            await cls.sample_cleanup(task_name, given, environments, False)
            raise RuntimeError(f"the sandbox was removed, since pods are not in gVisor: {'; '.join(outside)}")
        return environments
