"""A platform that creates and watches its pods itself: decide first, then apply the decision to the pod."""

from __future__ import annotations

from gvisor_dispatch import Dispatcher, Manifest, Policy
from kubernetes import client


def create(api: client.ApiClient, pod: Manifest, policy: Policy, namespace: str) -> client.V1Pod:
    """Creates the pod in gVisor, or without if the policy and the agents allow. The platform handles what follows:
    a pod that stays Pending, or fails, is no reason to create it again without gVisor."""
    dispatcher = Dispatcher(api)
    decision = dispatcher.decide(pod, policy, namespace)
    created = client.CoreV1Api(api).create_namespaced_pod(namespace, decision.applied(pod))
    dispatcher.record(created, decision)
    return created
