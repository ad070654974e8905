"""What a caller chooses: the policy, the names that the cluster uses, and how long to wait."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Policy(enum.Enum):
    """What to do where gVisor is not to be had now."""

    # gVisor or an error, at once. Never the host's kernel.
    REQUIRE = "require"
    # gVisor, and the host's kernel only where the agents report that gVisor itself fails and the namespace consents.
    PREFER = "prefer"
    # gVisor, and a pod that stays Pending until there is room, so that an autoscaler acts. Never the host's kernel.
    WAIT = "wait"


@dataclass(frozen=True)
class Settings:
    """Times are in seconds."""

    runtime_class: str = "gvisor"
    # The handler that the agents prove (their setting HANDLER).
    handler: str = "runsc"
    # How long a node where gVisor was never proven may fail before its verdict is settled: it may be being installed.
    install_grace: float = 1800
    # From the call until the pod has a node; wait_deadline is the one of Policy.WAIT.
    schedule_deadline: float = 60
    wait_deadline: float = 900
    # From having a node until a container runs: the pull of the image is in it.
    start_deadline: float = 300
    # From asking for a pod's removal until it is gone.
    remove_deadline: float = 60
    # For one request with all its repetitions.
    api_deadline: float = 60
    # How often the node of a pod that does not start is looked at.
    node_interval: float = 10
