"""An API server for tests: a real HTTP server with paging, watches, preconditions and faults. It keeps JSON."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster_objects import RUNTIME_CLASS, Json, node, runs
from fake_answer import Answer
from kubernetes import client


class Fault:
    """What the first `times` requests get instead of an answer: a status, or a cut connection (0). With `late` the
    request is done all the same."""

    def __init__(self, method: str, path: str, status: int, times: int, headers: Json, late: bool) -> None:
        self.method, self.path, self.status = method, re.compile(path), status
        self.left, self.headers, self.late = times, headers, late


class FakeApi:
    """Start it with `with`. `kubelet` is called in a thread of its own for each pod that is created, with a
    function that merges into the pod's status or spec."""

    def __init__(self) -> None:
        self.runtime_class: Json | None = json.loads(json.dumps(RUNTIME_CLASS))
        self.nodes: Iterable[Json] = [node("node-1"), node("node-2")]
        self.namespaces: dict[str, Json] = {"evals": {"allow-host-kernel": "true"}}
        self.pods: dict[str, Json] = {}
        self.created: list[Json] = []
        self.events: list[Json] = []
        self.jobs: dict[str, Json] = {}
        self.requests: list[tuple[float, str]] = []
        self.faults: list[Fault] = []
        self.kubelet: Callable[[FakeApi, str], None] = runs
        # Whether a deleted pod goes at once.
        self.deletes = True
        self.silent_watches = False
        self.expired_pages = 0
        self.largest_page = 0
        self._version = 100
        self.changed = threading.Condition()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def _any(self) -> None:
                Answer(api, self).give()

            do_GET = do_POST = do_DELETE = _any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeApi:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def client(self) -> client.ApiClient:
        return client.ApiClient(client.Configuration(host=self.url))

    def fail(
        self, method: str, path: str, status: int, times: int = 1, headers: Json | None = None, late: bool = False
    ) -> None:
        self.faults.append(Fault(method, path, status, times, headers or {}, late))

    def asked(self, pattern: str) -> list[str]:
        return [line for _, line in self.requests if re.search(pattern, line)]

    def version(self) -> str:
        self._version += 1
        return str(self._version)

    def add_pod(self, namespace: str, pod: Json) -> Json:
        name = pod["metadata"]["name"]
        with self.changed:
            pod["metadata"] |= {
                "namespace": namespace,
                "uid": f"uid-{self.version()}",
                "resourceVersion": self.version(),
            }
            pod.setdefault("status", {"phase": "Pending"})
            self.pods[name] = pod
            self.changed.notify_all()
        return pod

    def update(self, name: str, status: Json | None = None, spec: Json | None = None) -> None:
        """Merges into a pod that is still there."""
        with self.changed:
            if name in self.pods:
                pod = json.loads(json.dumps(self.pods[name]))
                pod["status"] |= status or {}
                pod["spec"] |= spec or {}
                pod["metadata"]["resourceVersion"] = self.version()
                self.pods[name] = pod
                self.changed.notify_all()

    def remove(self, name: str) -> None:
        with self.changed:
            self.pods.pop(name, None)
            self.changed.notify_all()
