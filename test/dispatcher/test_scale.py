"""Two thousand nodes of 16 KB each: how many are read, how much memory that takes, and the length of texts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from case import PATIENCE, ApiCase
from cluster_objects import Json, node
from gvisor_dispatch import Policy

NODES = 2000
# What a kubelet lists of its images; the API server sends it with every Node.
IMAGES = [
    {"names": [f"registry.example.org/team/evaluation-{at}@sha256:{at:064}"], "sizeBytes": at} for at in range(110)
]
# Decides in a process of its own, and prints the decision and by how many MiB the process grew.
ASK = """
import json, re, sys
from pathlib import Path
from kubernetes import client
from gvisor_dispatch import Dispatcher, Settings
settings = Settings(api_deadline=float(sys.argv[2]))
dispatcher = Dispatcher(client.ApiClient(client.Configuration(host=sys.argv[1])), settings)
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
answer = dispatcher.ask(client.V1Pod(spec=client.V1PodSpec(containers=[])))
print(json.dumps([answer.reason, answer.message, (peak() - before) / 1024]))
"""


class Fleet:
    """Nodes that are made on demand; `odd` is what differs from a proven node."""

    def __init__(self, **odd: Any) -> None:  # noqa: ANN401
        self.odd = odd

    def __iter__(self) -> Iterator[Json]:
        for at in range(NODES):
            one = node(f"node-{at:04}.a-long-name-of-a-machine-pool.example.internal", **self.odd)
            one["status"]["images"] = IMAGES
            yield one


class ScaleTest(ApiCase):
    def ask(self) -> tuple[str, str, float]:
        command = [sys.executable, "-B", "-c", ASK, self.api.url, str(60 * PATIENCE)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        reason, message, grown = json.loads(done.stdout)
        return reason, message, grown

    def test_a_node_is_16_kilobytes(self) -> None:
        self.assertGreater(len(json.dumps(next(iter(Fleet())))), 15_000)

    def test_it_stops_at_the_first_node_that_fits(self) -> None:
        self.api.nodes = Fleet()
        reason, _, grown = self.ask()
        self.assertEqual(reason, "Available")
        self.assertEqual(len(self.api.requests("/nodes")), 1)
        self.assertEqual(self.api.largest_page, 20)
        self.assertLess(grown, 10)

    def test_it_holds_one_page_of_nodes_that_do_not_fit(self) -> None:
        self.api.nodes = Fleet(cordoned=True)
        reason, message, grown = self.ask()
        self.assertEqual(reason, "NoSchedulableNode")
        self.assertIn(" taint node.kubernetes.io/unschedulable=:NoSchedule: node-0000.", message)
        self.assertLessEqual(len(self.api.requests("/nodes")), 21)
        self.assertIn(" and 1,997 more", message)
        self.assertLess(grown, 60)
        self.assertLessEqual(len(message), 1000)

    def test_a_fleet_that_fails_gives_a_short_annotation(self) -> None:
        self.api.nodes = Fleet(ready="false", reason="RunscNotFound")
        with self.assertLogs("gvisor_dispatch", "WARNING"):
            self.assertEqual(self.outcome(Policy.PREFER), ("host", "GVisorFails"))
        annotations = self.api.pods["eval-1"]["metadata"]["annotations"]
        self.assertLess(len(json.dumps(annotations)), 2000)
        self.assertIn("RunscNotFound: node-0000.", annotations["gvisor-ready.dev/dispatch-message"])

    def test_an_expired_list_restarts_until_the_deadline(self) -> None:
        self.api.nodes = [node(f"n{at}", cordoned=True) for at in range(30)]
        self.api.expired_pages = 1
        self.assertEqual(self.outcome(Policy.REQUIRE), ("RetryLaterError", "NoSchedulableNode"))
        self.api.expired_pages = 99
        self.assertEqual(self.outcome(Policy.REQUIRE, api_deadline=1), ("RetryLaterError", "ApiUnavailable"))
