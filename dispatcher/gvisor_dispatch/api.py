"""Requests to the API server as plain JSON, retried until a deadline while it is busy or unreachable."""

from __future__ import annotations

import copy
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from .errors import ApiUnavailableError, RefusedError
from .pods import Json

log = logging.getLogger("gvisor_dispatch")

# Timeouts of one request for connecting and for reading, in seconds.
REQUEST_TIMEOUT = (5, 30)
# A watch is restarted after this time, so that a silent one costs no more.
WATCH_SECONDS = 15
# Retryable statuses; the client reports a failed TLS handshake as 0.
TRANSIENT = (0, 408, 429, 500, 502, 503, 504)
# Nodes in a page: few at first, since one of them usually fits; then about 4 MB.
FIRST_PAGE, NEXT_PAGES = 20, 250


class Api:
    """The requests of a dispatcher. Only errors of the client are caught: exceptions raised by signals pass through."""

    def __init__(self, api: client.ApiClient, deadline: float) -> None:
        own = without_retries(api)
        self.core = client.CoreV1Api(own)
        self.node = client.NodeV1Api(own)
        self._deadline = deadline

    def request(self, what: str, call: Callable[..., Any], *args: object, **options: object) -> Json:
        """One request, retried while the API server is busy or away. Raises RefusedError or ApiUnavailableError."""
        end = time.monotonic() + self._deadline
        for delay in backoff_delays():
            try:
                response = call(*args, _preload_content=False, _request_timeout=REQUEST_TIMEOUT, **options)
                found: Json = json.loads(response.data)
                return found
            except (ApiException, HTTPError, json.JSONDecodeError) as error:
                problem = explain(what, error)
                wait = max(delay, retry_after(error))
            if time.monotonic() + wait > end:
                raise ApiUnavailableError(f"{problem}; given up after {self._deadline:g} s")
            log.info("%s; trying again in %.1f s", problem, wait)
            time.sleep(wait)
        raise AssertionError("backoff_delays() never ends")

    def find(self, what: str, call: Callable[..., Any], *args: object, **options: object) -> Json | None:
        """Like request, but None where the object does not exist."""
        try:
            return self.request(what, call, *args, **options)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def read_pod(self, namespace: str, name: str) -> Json | None:
        return self.find(f"read pod {namespace}/{name}", self.core.read_namespaced_pod, name, namespace)

    def nodes(self, selector: str) -> Iterator[Json]:
        """The nodes of a selector, in pages, so that a caller that stops early reads only one. No resourceVersion=0:
        with it the API server ignores the limit and sends all nodes at once.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list"""
        limit, token = FIRST_PAGE, None
        while True:
            page = self.request(
                "list nodes", self.core.list_node, label_selector=selector, limit=limit, _continue=token
            )
            yield from page.get("items") or []
            limit, token = NEXT_PAGES, page["metadata"].get("continue")
            if not token:
                return

    def follow(self, pod: Json, enough: Callable[[Json], bool], until: float) -> Json | None:
        """Follows a pod until `enough`, until it is gone (None), or until the deadline `until`. Returns its last state.
        A watch may end in any way: the next read counts."""
        seen = self.read_same(pod)
        delays = backoff_delays()
        while seen and not enough(seen) and (left := until - time.monotonic()) > 0:
            if self._watch(seen, enough, left):
                delays = backoff_delays()
            else:
                time.sleep(max(0, min(next(delays), until - time.monotonic())))
            seen = self.read_same(pod)
        return seen

    def read_same(self, pod: Json) -> Json | None:
        """The pod with the same UID; None when it is gone, even if another pod has its name."""
        meta = pod["metadata"]
        seen = self.read_pod(meta["namespace"], meta["name"])
        return seen if seen and seen["metadata"]["uid"] == meta["uid"] else None

    def _watch(self, seen: Json, enough: Callable[[Json], bool], left: float) -> bool:
        """Watches once. Returns False for a watch that failed or sent no event, before which the next must wait."""
        meta = seen["metadata"]
        seconds = max(1, round(min(left, WATCH_SECONDS)))
        started, received, response = time.monotonic(), False, None
        try:
            response = self.core.list_namespaced_pod(
                meta["namespace"],
                watch=True,
                field_selector=f"metadata.name={meta['name']}",
                resource_version=meta["resourceVersion"],
                timeout_seconds=seconds,
                _preload_content=False,
                _request_timeout=(REQUEST_TIMEOUT[0], min(seconds + 2, max(left, 0.1))),
            )
            for line in response:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    log.debug("the watch of pod %s ended: %s", meta["name"], event["object"])
                    return False
                received = True
                if event["type"] == "DELETED" or enough(event["object"]):
                    return True
        except (ApiException, HTTPError, json.JSONDecodeError) as error:
            log.debug("the watch of pod %s ended: %s", meta["name"], error)
        finally:
            if response is not None:
                response.close()
        return received or time.monotonic() - started >= seconds - 1


def without_retries(api: client.ApiClient) -> client.ApiClient:
    """The same client without urllib3's own retries, which obey any Retry-After, even an hour."""
    configuration = copy.deepcopy(api.configuration)
    configuration.retries = False
    own = client.ApiClient(configuration, cookie=api.cookie)
    own.default_headers = dict(api.default_headers)
    return own


def backoff_delays() -> Iterator[float]:
    """Exponential backoff up to five seconds, with jitter."""
    delay = 0.2
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(5, delay * 2)


def explain(what: str, error: Exception) -> str:
    """The message of a retryable error; raises RefusedError for any other."""
    if not isinstance(error, ApiException):
        return f"cannot {what}: {error}"
    sentence = f"cannot {what}: {error.status} {api_message(error)}"
    if error.status not in TRANSIENT:
        raise RefusedError(error.status, sentence) from error
    return sentence


def api_message(error: ApiException) -> str:
    """The message in the API server's Status."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or "")


def retry_after(error: Exception) -> float:
    """The seconds in the header Retry-After; 0 without one."""
    headers = getattr(error, "headers", None) or {}
    text = str(headers.get("Retry-After") or "")
    return float(text) if text.isdecimal() else 0
