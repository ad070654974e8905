"""A platform that writes and watches its pods itself: ask, then change the pod that it was about to create."""

from __future__ import annotations

from gvisor_dispatch import Dispatcher, Manifest, Policy
from kubernetes import client


def create(api: client.ApiClient, pod: Manifest, policy: Policy, namespace: str) -> client.V1Pod:
    """Creates the pod in gVisor, or without where the policy and the agents say so. What happens to it afterwards
    is the platform's: that it stays Pending, or fails, is no reason to create it again without gVisor."""
    dispatcher = Dispatcher(api)
    decision = dispatcher.decide(pod, policy, namespace)
    created = client.CoreV1Api(api).create_namespaced_pod(namespace, decision.applied(pod))
    dispatcher.record(created, decision)
    return created
