"""Requests of a dispatcher, retried until a deadline while the API server is busy or unreachable."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from .errors import RefusedError, RetryLaterError
from .http import NoResponseError, Request, Response, Transport, parsed
from .nodes import condition
from .pods import Json

log = logging.getLogger("gvisor_dispatch")

# The installation, whose name and port are fixed.
AGENTS, AGENT_LABEL, AGENT_PORT = "gvisor-ready", "app.kubernetes.io/component=agent", 9477
# A watch is restarted, so that a silent one costs no more.
WATCH_SECONDS = 15
TRANSIENT = (408, 429, 500, 502, 503, 504)
# Nodes in a page: few at first, since one of them usually fits; then about 4 MB.
FIRST_PAGE, NEXT_PAGES = 20, 250


class Api:
    """Only failures of a transport are caught: exceptions of signals and cancellation pass through. From
    `transport.end` on, waits and creations raise ClosedError; with `closing`, waits go on."""

    def __init__(self, transport: Transport, deadline: float, *, closing: bool = False) -> None:
        self._transport = transport
        self._deadline = deadline
        self._date = ""
        self._authenticated = False
        self.sleep = transport.sleep if closing else transport.wait

    async def request(self, what: str, request: Request) -> Json:
        """Retried while the API server is busy or away. Raises RefusedError, or RetryLaterError."""
        end = time.monotonic() + self._deadline
        for delay in backoff_delays():
            wait = delay
            try:
                response = await self._transport.send(request)
                self._date = str(response.headers.get("Date") or "")
                if response.status < 300:
                    self._authenticated = True
                    found = response.json()
                    if request.method != "DELETE" and not is_whole(found, request.path):
                        raise NoResponseError(f"no object of the API: {response.body[:40]!r}")
                    return found
                problem = f"cannot {what}: {response.status} {api_message(response)}"
                # Credentials that were valid are being renewed.
                expired = response.status == 401 and self._authenticated
                if response.status not in TRANSIENT and not (expired and time.monotonic() + wait < end):
                    raise RefusedError("ApiRefused", problem, response.status)
                wait = max(delay, retry_after(response))
            except NoResponseError as error:
                problem = f"cannot {what}: {error}"
            if time.monotonic() + wait > end:
                raise RetryLaterError("ApiUnavailable", f"{problem}; given up after {self._deadline:g} s")
            log.info("%s; trying again in %.1f s", problem, wait)
            await self.sleep(wait)
        raise AssertionError("backoff_delays() never ends")

    @property
    def now(self) -> datetime:
        """The API server's at its last response; this machine's if it did not say."""
        try:
            return parsedate_to_datetime(self._date)
        except ValueError:
            return datetime.now(UTC)

    async def read(self, what: str, path: str, **query: str | int) -> Json:
        return await self.request(what, Request("GET", path, query))

    async def find(self, what: str, path: str) -> Json | None:
        """Like read, but None where the object does not exist."""
        try:
            return await self.read(what, path)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, what: str, path: str, body: Json) -> Json:
        await self.sleep(0)
        return await self.request(what, Request("POST", path, body=body))

    async def read_pod(self, namespace: str, name: str) -> Json | None:
        return await self.find(f"read pod {namespace}/{name}", pod_path(namespace, name))

    async def read_object(self, made: Json) -> Json | None:
        """A pod or a Job of this name, as it is now."""
        return await self.find(f"read {title(made)}", object_path(made))

    async def nodes(self, selector: str) -> AsyncIterator[Json]:
        """In pages, so that a caller that stops early reads only one. No resourceVersion=0: with it the API server
        ignores the limit. https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list"""
        query: dict[str, str | int] = {"labelSelector": selector, "limit": FIRST_PAGE}
        while True:
            page = await self.read("list nodes", "/api/v1/nodes", **query)
            for node in page.get("items") or []:
                yield node
            token = page["metadata"].get("continue")
            if not token:
                return
            query |= {"limit": NEXT_PAGES, "continue": token}

    async def node(self, name: str) -> Json | None:
        """Lists, because a program that may list nodes need not be allowed to get one."""
        found = await self.read("list nodes", "/api/v1/nodes", fieldSelector=f"metadata.name={name}")
        return next(iter(found.get("items") or []), None)

    async def report(self, node: str) -> Json | None:
        """The report of a node's agent, through the API server. None without one, and without the right to read it."""
        pods = pod_path(AGENTS)
        query = {"labelSelector": AGENT_LABEL, "fieldSelector": f"spec.nodeName={node}"}
        try:
            found = await self.read("list agents", pods, **query)
            pods_there = found.get("items") or []
            ready = [one for one in pods_there if condition(one, "Ready").get("status") == "True"]
            if not ready:
                return None
            agent = quote(ready[0]["metadata"]["name"])
            path = f"{pods}/{agent}:{AGENT_PORT}/proxy/report"
            response = await self._transport.send(Request("GET", path))
            report = response.json() if response.status == 200 else None
        except (RefusedError, RetryLaterError, NoResponseError):
            return None
        return report if isinstance(report, dict) else None

    async def warnings(self, pod: Json, source: str = "") -> list[Json]:
        """Oldest first; `source` is the only component that counts, however many Events others write."""
        meta = pod["metadata"]
        selector = f"involvedObject.uid={meta['uid']},type=Warning" + (f",source={source}" if source else "")
        found = await self.read("list events", event_path(meta["namespace"]), fieldSelector=selector, limit=50)
        return sorted(found.get("items") or [], key=last_seen)

    async def follow(self, pod: Json, enough: Callable[[Json], bool], until: float) -> Json | None:
        """Follows a pod until `enough`, until it is gone (None), or until `until`. Returns its last state. A watch may
        end in any way: the next read counts."""
        seen = await self.read_same(pod)
        delays = backoff_delays()
        while seen and not enough(seen) and (left := until - time.monotonic()) > 0:
            if await self._watch(seen, enough, left):
                delays = backoff_delays()
            else:
                await self.sleep(max(0, min(next(delays), until - time.monotonic())))
            seen = await self.read_same(pod)
        return seen

    async def read_same(self, made: Json) -> Json | None:
        """None when the object with this UID is gone, even if another has its name."""
        seen = await self.read_object(made)
        return seen if seen and seen["metadata"]["uid"] == made["metadata"]["uid"] else None

    async def _watch(self, seen: Json, enough: Callable[[Json], bool], left: float) -> bool:
        """Returns False for a watch that failed or sent no event, before which the next must wait."""
        meta = seen["metadata"]
        seconds = max(1, round(min(left, WATCH_SECONDS)))
        query: dict[str, str | int] = {
            "watch": "true",
            "fieldSelector": f"metadata.name={meta['name']}",
            "resourceVersion": meta["resourceVersion"],
            "timeoutSeconds": seconds,
        }
        request = Request("GET", pod_path(meta["namespace"]), query, read_seconds=min(seconds + 2, max(left, 0.1)))
        started, received, failed = time.monotonic(), False, False

        def read_line(line: bytes) -> bool:
            nonlocal received, failed
            try:
                event = parsed(line)
                failed = event["type"] == "ERROR"
                done = failed or event["type"] == "DELETED" or enough(event["object"])
            except (NoResponseError, LookupError, TypeError, AttributeError) as error:
                log.debug("the watch of pod %s sent an odd line: %r", meta["name"], error)
                failed = done = True
            received = received or not failed
            return done

        try:
            status = await self._transport.stream(request, read_line)
            failed = failed or status != 200
        except NoResponseError as error:
            log.debug("the watch of pod %s ended: %s", meta["name"], error)
        return not failed and (received or time.monotonic() - started >= seconds - 1)


def pod_path(namespace: str, name: str = "") -> str:
    """The path of a pod, or of all pods in a namespace."""
    pods = f"/api/v1/namespaces/{quote(namespace)}/pods"
    return f"{pods}/{quote(name)}" if name else pods


def object_path(made: Json) -> str:
    """The path of a pod or a Job."""
    return f"{objects_path(made)}/{quote(made['metadata']['name'])}"


def objects_path(made: Json) -> str:
    """Where a pod or a Job is created."""
    namespace = made["metadata"]["namespace"]
    return f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs" if made.get("kind") == "Job" else pod_path(namespace)


def title(made: Json) -> str:
    return f"{(made.get('kind') or 'Pod').lower()} {made['metadata']['namespace']}/{made['metadata']['name']}"


def event_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/events"


def is_whole(found: object, path: str) -> bool:
    """Whether it is an object or a list of the API, and not other JSON, such as a proxy's."""
    if not isinstance(found, dict) or not isinstance(meta := found.get("metadata"), dict):
        return False
    if isinstance(items := found.get("items"), list):
        return all(is_whole(one, path) for one in items)
    is_workload = path.startswith("/apis/batch/") or "/pods" in path
    return "name" in meta and (not is_workload or ("uid" in meta and isinstance(found.get("spec"), dict)))


def backoff_delays(longest: float = 5) -> Iterator[float]:
    """Exponential, in seconds, with jitter."""
    delay = 0.2
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(longest, delay * 2)


def api_message(response: Response) -> str:
    try:
        return str(response.json()["message"])
    except (NoResponseError, KeyError):
        return response.body[:200].decode(errors="replace")


def retry_after(response: Response) -> float:
    """Retry-After in seconds; 0 without one."""
    text = str(response.headers.get("Retry-After") or "")
    return float(text) if text.isdecimal() else 0


def last_seen(event: Json) -> str:
    """Its two APIs fill different fields."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
