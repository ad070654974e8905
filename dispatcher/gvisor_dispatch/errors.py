"""Why an evaluation was not started: one class for each possible reaction of the caller."""

from __future__ import annotations


class DispatchError(Exception):
    """Base of all errors of this package: a reason code for programs and a message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class GVisorUnavailableError(DispatchError):
    """The agents report that gVisor fails, and the policy or the namespace forbids a fallback. No pod is left."""


class MisconfiguredError(DispatchError):
    """The RuntimeClass is missing, or is not the one that the agents prove. Retrying does not help, and
    no policy falls back, since a typo must not put untrusted code on the host's kernel."""


class CapacityError(DispatchError):
    """No agent reports that gVisor fails, but the pod found no node or did not start in time. No pod is left.
    Call again later."""


class ConflictError(DispatchError):
    """Another pod has the name (NameTaken), the pod was removed (PodRemoved), or an earlier call with
    another policy runs the evaluation without gVisor (RunsOutside). Nothing was changed."""


class PodNotGoneError(DispatchError):
    """A pod that did not start was deleted, but the deletion is not confirmed: it may still run."""


class RefusedError(DispatchError):
    """The API server refuses a request, and would refuse it again: no permission, a policy, a quota."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("ApiRefused", message)
        self.status = status


class ApiUnavailableError(DispatchError):
    """The API server did not respond in time. A pod may be left: call again with the same pod to adopt it."""

    def __init__(self, message: str) -> None:
        super().__init__("ApiUnavailable", message)
