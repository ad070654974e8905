"""Why an evaluation was not started: a class for each thing that a caller can do."""

from __future__ import annotations


class DispatchError(Exception):
    """Base of all errors of this package: a reason code for programs and a message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # a process pool and Celery make the error again with these
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class RetryLaterError(DispatchError):
    """Call again later: no capacity, a full quota, no final verdict, an old decision, or no response. A pod may be left
    only where the reason is ApiUnavailable or PodNotGone, and the next call adopts or awaits it."""


class PodError(DispatchError):
    """Change the pod, or create what it refers to. No pod is left."""


class ClusterError(DispatchError):
    """Change the cluster: the RuntimeClass, the namespace, gVisor's settings on the nodes, or permissions. No policy
    falls back, since a typing error must not put untrusted code on the host's kernel."""


class PolicyError(DispatchError):
    """The policy or the namespace forbids the host's kernel, and gVisor fails (GVisorFails) or an earlier call runs the
    evaluation without it (RunsOutside)."""


class ConflictError(DispatchError):
    """Another program has a pod of this name (NameTaken) or removed the pod (PodRemoved). Nothing was changed."""


class ClosedError(RetryLaterError):
    """close() ended the call."""

    def __init__(self, reason: str = "DispatcherClosed", message: str = "close() ended this call") -> None:
        super().__init__(reason, message)


class RefusedError(ClusterError):
    """The API server refused a request, and would refuse it again. Permissions or credentials that go while a pod
    starts leave it: the next call with valid ones adopts it."""

    def __init__(self, reason: str, message: str, status: int = 0) -> None:
        super().__init__(reason, message)
        self.status = status
