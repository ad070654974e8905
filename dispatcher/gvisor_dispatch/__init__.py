"""Starts evaluation pods in gVisor, or reports why not. See https://gvisor.dev and the README beside this package."""

from .availability import Availability
from .decision import Decision, Started
from .dispatcher import AsyncDispatcher, Dispatcher
from .errors import ClusterError, ConflictError, DispatchError, PodError, PolicyError, RetryLaterError
from .explanation import Explanation
from .pods import Manifest
from .settings import Policy, Settings

__version__ = "0.1.0"
__all__ = [
    "AsyncDispatcher",
    "Availability",
    "ClusterError",
    "ConflictError",
    "Decision",
    "DispatchError",
    "Dispatcher",
    "Explanation",
    "Manifest",
    "PodError",
    "Policy",
    "PolicyError",
    "RetryLaterError",
    "Settings",
    "Started",
]
