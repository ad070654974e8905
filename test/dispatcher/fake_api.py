"""An API server for tests: a real HTTP server with paging, watches, preconditions and faults. It keeps JSON."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cluster_objects import RUNTIME_CLASS, Json, ago, node, runs
from kubernetes import client


@dataclass
class Fault:
    """A status, with any JSON as its body, or a closed connection (0), instead of a response to the first `left`
    requests. With `late` they take effect."""

    method: str
    path: str
    status: int
    left: int
    headers: Json
    late: bool
    body: object


class FakeApi:
    """Start it with `with`. `kubelet` is called in a thread of its own for each pod that is created, with a
    function that merges into the pod's status or spec."""

    def __init__(self) -> None:
        self.runtime_class: Json | None = json.loads(json.dumps(RUNTIME_CLASS))
        self.nodes: Iterable[Json] = [node("node-1"), node("node-2")]
        self.namespaces: dict[str, Json] = {"evals": {"gvisor-ready.dev/allow-host-kernel": "true"}}
        # Maximum number of pods, as a ResourceQuota sets it.
        self.quota = 10**6
        self.pods: dict[str, Json] = {}
        self.created: list[Json] = []
        self.events: list[Json] = []
        # Of the agents, by node: a body, or a refusal.
        self.reports: dict[str, object] = {}
        self.jobs: dict[str, Json] = {}
        self.received: list[tuple[float, str]] = []
        self.faults: list[Fault] = []
        self.kubelet: Callable[[FakeApi, str], None] = runs
        # Changes what is created.
        self.admission: Callable[[Json], object] = lambda _: None
        # Whether a deleted pod goes at once.
        self.deletes = True
        self.clock = lambda: datetime.now(UTC)
        self.silent_watches = False
        # Each watch begins with the next of these.
        self.odd_lines: list[bytes] = []
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

            def date_time_string(self, _: float | None = None) -> str:
                return format_datetime(api.clock(), usegmt=True)

            def _any(self) -> None:
                Response(api, self).send_it()

            do_GET = do_POST = do_DELETE = _any  # noqa: N815

        self._server = Server(("127.0.0.1", 0), Handler)
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
        self,
        method: str,
        path: str,
        status: int,
        times: int = 1,
        headers: Json | None = None,
        late: bool = False,
        body: object = None,
    ) -> None:
        self.faults.append(Fault(method, path, status, times, headers or {}, late, body))

    def requests(self, pattern: str) -> list[str]:
        return [line for _, line in self.received if re.search(pattern, line)]

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

    def seconds_later(self, seconds: float) -> None:
        """The API server's clock, which says for how long pods have run."""
        self.clock = lambda: datetime.now(UTC) + timedelta(seconds=seconds)

    def update(self, name: str, status: Json | None = None, spec: Json | None = None) -> None:
        """Merges into a pod that is still there."""
        with self.changed:
            if name in self.pods:
                pod = json.loads(json.dumps(self.pods[name]))
                pod["status"] |= status or {}
                pod["spec"] |= spec or {}
                if pod["spec"].get("nodeName"):
                    pod["status"].setdefault("startTime", ago(0))
                pod["metadata"]["resourceVersion"] = self.version()
                self.pods[name] = pod
                self.changed.notify_all()

    def remove(self, name: str) -> None:
        with self.changed:
            self.pods.pop(name, None)
            self.changed.notify_all()


class Server(ThreadingHTTPServer):
    # Connections that wait to be accepted, in the kernel.
    request_queue_size = 512


class Response:
    """The response to one request."""

    def __init__(self, api: FakeApi, handler: BaseHTTPRequestHandler) -> None:
        self.api, self.handler = api, handler
        split = urlsplit(handler.path)
        self.path, self.query = split.path, {key: value[0] for key, value in parse_qs(split.query).items()}
        length = int(handler.headers.get("Content-Length") or 0)
        self.body: Json = json.loads(handler.rfile.read(length)) if length else {}

    def send_it(self) -> None:
        method = self.handler.command
        self.api.received.append((time.monotonic(), f"{method} {self.handler.path}"))
        for fault in self.api.faults:
            if fault.left and fault.method in ("", method) and re.search(fault.path, self.handler.path):
                fault.left -= 1
                if fault.late:
                    self._dispatch()
                if fault.status == 0:
                    self.handler.close_connection = True
                    self.handler.connection.shutdown(2)
                    return None
                body = refusal(fault.status, "a fault of the test") if fault.body is None else fault.body
                return self.send(fault.status, body, fault.headers)
        if self.query.get("watch") == "true":
            return self.watch()
        return self.send(*self._dispatch())

    def send(self, status: int, body: object, headers: Json | None = None) -> None:
        data = json.dumps(body).encode()
        self.handler.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.handler.send_header(key, value)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def _dispatch(self) -> tuple[int, Json]:
        api, parts = self.api, self.path.strip("/").split("/")
        method, name = self.handler.command, parts[-1]
        if "runtimeclasses" in parts:
            return (200, api.runtime_class) if api.runtime_class else (404, refusal(404, "no runtime class"))
        if parts[-1] == "nodes":
            return self.list_nodes()
        if parts[-2] == "namespaces":
            labels = api.namespaces.get(name)
            return (404, refusal(404, "no namespace")) if labels is None else (200, named(name, labels))
        namespace = parts[3]
        if namespace == "gvisor-ready":
            return self.agents(name)
        if parts[-1] == "events":
            if method == "GET":
                return 200, {"metadata": {}, "items": api.events}
            if any(one["metadata"]["name"] == self.body["metadata"].get("name") for one in api.events):
                return 409, refusal(409, "the event exists")
            api.events.append(self.body)
            return 201, self.body
        if parts[-1] == "jobs":
            return self.create_job(parts[4])
        if parts[-2] == "jobs":
            if name not in api.jobs:
                return 404, refusal(404, "no job")
            return (200, api.jobs[name]) if method == "GET" else self.delete_job(name)
        if method == "POST":
            return self.create(namespace)
        if name == "pods":
            key, _, value = self.query["labelSelector"].partition("=")
            pods = api.pods.values()
            found = [one for one in pods if (one["metadata"].get("labels") or {}).get(key) == value]
            return 200, {"metadata": {}, "items": found}
        pod = api.pods.get(name)
        if pod is None:
            return 404, refusal(404, f'pods "{name}" not found')
        return (200, pod) if method == "GET" else self.delete(name, pod)

    def agents(self, name: str) -> tuple[int, Json]:
        """The agent of a node, which is Ready, or its report."""
        if name == "pods":
            node = self.query["fieldSelector"].removeprefix("spec.nodeName=")
            status = {"conditions": [{"type": "Ready", "status": "True"}]}
            agent = {"metadata": {"name": f"agent-{node}", "uid": "u"}, "spec": {}, "status": status}
            return 200, {"metadata": {}, "items": [agent] if node in self.api.reports else []}
        node = self.path.split("/pods/agent-")[1].partition(":")[0]
        return 200, self.api.reports[node]

    def create(self, namespace: str) -> tuple[int, Json]:
        name = self.body["metadata"]["name"]
        with self.api.changed:
            if name in self.api.pods:
                return 409, refusal(409, f'pods "{name}" already exists')
            if len(self.api.pods) >= self.api.quota:
                counts = f"requested: pods=1, used: pods={len(self.api.pods)}, limited: pods={self.api.quota}"
                return 403, refusal(403, f'pods "{name}" is forbidden: exceeded quota: q, {counts}')
            if self.api.runtime_class is None and "runtimeClassName" in self.body["spec"]:
                return 403, refusal(403, f'pods "{name}" is forbidden: pod rejected: RuntimeClass "gvisor" not found')
            self.api.admission(self.body)
            pod = self.api.add_pod(namespace, self.body)
            self.api.created.append(pod)
        threading.Thread(target=self.api.kubelet, args=(self.api, name), daemon=True).start()
        return 201, pod

    def create_job(self, namespace: str) -> tuple[int, Json]:
        meta = self.body["metadata"]
        if meta["name"] in self.api.jobs:
            return 409, refusal(409, "the job exists")
        self.api.admission(self.body)
        version = self.api.version()
        meta |= {"namespace": namespace, "uid": f"uid-{version}", "resourceVersion": version}
        self.api.jobs[meta["name"]] = self.body
        return 201, self.body

    def delete_job(self, name: str) -> tuple[int, Json]:
        now, wanted = self.api.jobs[name]["metadata"], self.body.get("preconditions") or {}
        if any(now[key] != value for key, value in wanted.items()):
            return 409, refusal(409, "the precondition does not hold")
        return 200, self.api.jobs.pop(name)

    def delete(self, name: str, pod: Json) -> tuple[int, Json]:
        wanted = self.body.get("preconditions") or {}
        with self.api.changed:
            now = self.api.pods.get(name, pod)["metadata"]
            if any(now[key] != value for key, value in wanted.items()):
                return 409, refusal(409, "the precondition does not hold")
            if self.api.deletes:
                self.api.remove(name)
            else:
                now["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return 200, pod

    def list_nodes(self) -> tuple[int, Json]:
        terms = [term.partition("=") for term in (self.query.get("labelSelector") or "").split(",") if term]
        field = (self.query.get("fieldSelector") or "").partition("=")[2]
        start, limit = int(self.query.get("continue") or 0), int(self.query.get("limit") or 10**9)
        if start and self.api.expired_pages:
            self.api.expired_pages -= 1
            return 410, refusal(410, "the continue token has expired")
        page: list[Json] = []
        for at, one in enumerate(self.api.nodes):
            labels = one["metadata"]["labels"]
            fits = all(labels.get(key) == value if equals else key in labels for key, equals, value in terms)
            if at < start or not fits or (field and one["metadata"]["name"] != field):
                continue
            if len(page) == limit:
                return 200, {"metadata": {"continue": str(at)}, "items": page}
            page.append(one)
            self.api.largest_page = max(self.api.largest_page, len(page))
        return 200, {"metadata": {}, "items": page}

    def watch(self) -> None:
        """Sends the pod whenever it changed, until the watch's own timeout or the pod's end."""
        name = self.query["fieldSelector"].partition("=")[2]
        seen, end = self.query.get("resourceVersion"), time.monotonic() + float(self.query["timeoutSeconds"])
        self.handler.send_response(200)
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()
        try:
            if self.api.odd_lines:
                self.line(self.api.odd_lines.pop())
            while time.monotonic() < end:
                with self.api.changed:
                    self.api.changed.wait(0.05)
                    pod = self.api.pods.get(name)
                if self.api.silent_watches or (pod and pod["metadata"]["resourceVersion"] == seen):
                    continue
                self.event("DELETED" if pod is None else "MODIFIED", pod or {})
                if pod is None:
                    break
                seen = pod["metadata"]["resourceVersion"]
            self.handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the client has seen enough

    def event(self, kind: str, pod: Json) -> None:
        self.line(json.dumps({"type": kind, "object": pod}).encode())

    def line(self, text: bytes) -> None:
        line = text + b"\n"
        self.handler.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def named(name: str, labels: Json) -> Json:
    return {"metadata": {"name": name, "labels": labels}}


def refusal(status: int, message: str) -> Json:
    return {"kind": "Status", "status": "Failure", "code": status, "message": message}
