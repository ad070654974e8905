"""Starts evaluation pods in gVisor, or reports why not. See https://gvisor.dev and the README beside this package."""

from .availability import Availability
from .decision import Decision, Started
from .dispatcher import Dispatcher
from .errors import (
    ApiUnavailableError,
    CapacityError,
    ConflictError,
    DispatchError,
    GVisorUnavailableError,
    MisconfiguredError,
    PodNotGoneError,
    RefusedError,
)
from .pods import Manifest
from .settings import Policy, Settings

__all__ = [
    "ApiUnavailableError",
    "Availability",
    "CapacityError",
    "ConflictError",
    "Decision",
    "DispatchError",
    "Dispatcher",
    "GVisorUnavailableError",
    "Manifest",
    "MisconfiguredError",
    "PodNotGoneError",
    "Policy",
    "RefusedError",
    "Settings",
    "Started",
]
