"""Settings of a caller: the policy, names in the cluster, and deadlines."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal


class Policy(enum.Enum):
    """What to do if gVisor is not available now."""

    # gVisor or an error, at once. Never the host's kernel.
    REQUIRE = "require"
    # gVisor, and the host's kernel only if agents report that gVisor itself fails and the namespace consents.
    PREFER = "prefer"
    # gVisor, with a pod that stays Pending until it fits, so that an autoscaler acts. Never the host's kernel.
    WAIT = "wait"
    # The host's kernel, only in a cluster without any trace of gVisor, such as a laptop's, if the namespace consents.
    NO_GVISOR = "no-gvisor"


@dataclass(frozen=True)
class Settings:
    """Times are in seconds."""

    # Of any handler that the agents prove.
    runtime_class: str = "gvisor"
    # The main handler, the first in the agents' HANDLERS.
    handler: str = "runsc"
    # How long a node where gVisor was never proven may fail before that is evidence: its installation may still run.
    install_grace: float = 1800
    # From the call until the pod has a node; wait_deadline is for Policy.WAIT.
    schedule_deadline: float = 60
    wait_deadline: float = 900
    # From the pod's binding until a container runs, image pull included.
    start_deadline: float = 300
    # From a pod's deletion until it is gone.
    remove_deadline: float = 60
    # For one request with all its retries.
    api_deadline: float = 60
    # How often the node of a pod that does not start is read.
    node_interval: float = 10
    # How many pods that `dispatch` creates boot on a node at the same time, in the mean of the nodes; the others are
    # created in turn, `wait_deadline` after their call at the latest. "learnt": as many as boot about as fast as one
    # alone. None: all at once.
    max_starting: int | Literal["learnt"] | None = None
