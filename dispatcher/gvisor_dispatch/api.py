"""Requests to the API server as plain JSON, repeated while it is busy or away, and never without end."""

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

# For connecting and for answering, in seconds, of each request.
REQUEST_TIMEOUT = (5, 30)
# A watch ends after this time and is begun anew, so that one that went silent costs no more.
WATCH_SECONDS = 15
# Answers that may be another in a moment; 0 is how the client reports a failed TLS handshake.
TRANSIENT = (0, 408, 429, 500, 502, 503, 504)
# Nodes of a page: few at first, since most often one of them fits; then as many as make some 4 MB.
FIRST_PAGE, NEXT_PAGES = 20, 250


class Api:
    """The requests of a dispatcher. Only errors of the client are caught: what a signal raises passes through."""

    def __init__(self, api: client.ApiClient, deadline: float) -> None:
        own = without_own_repetitions(api)
        self.core = client.CoreV1Api(own)
        self.node = client.NodeV1Api(own)
        self._deadline = deadline

    def ask(self, what: str, call: Callable[..., Any], *args: object, **options: object) -> Json:
        """One request, repeated while the API server is busy or away. Raises RefusedError or ApiUnavailableError."""
        end = time.monotonic() + self._deadline
        for pause in pauses():
            try:
                answer = call(*args, _preload_content=False, _request_timeout=REQUEST_TIMEOUT, **options)
                found: Json = json.loads(answer.data)
                return found
            except (ApiException, HTTPError, json.JSONDecodeError) as error:
                problem = explain(what, error)
                wait = max(pause, retry_after(error))
            if time.monotonic() + wait > end:
                raise ApiUnavailableError(f"{problem}; given up after {self._deadline:g} s")
            log.info("%s; trying again in %.1f s", problem, wait)
            time.sleep(wait)
        raise AssertionError("pauses() never ends")

    def find(self, what: str, call: Callable[..., Any], *args: object, **options: object) -> Json | None:
        """The same; None for what is not there."""
        try:
            return self.ask(what, call, *args, **options)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def read_pod(self, namespace: str, name: str) -> Json | None:
        return self.find(f"read pod {namespace}/{name}", self.core.read_namespaced_pod, name, namespace)

    def nodes(self, selector: str) -> Iterator[Json]:
        """The nodes of a selector, in pages, so that a reader who stops early costs one. No resourceVersion=0:
        with that the API server ignores the limit and sends all nodes at once.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list"""
        limit, token = FIRST_PAGE, None
        while True:
            page = self.ask("list nodes", self.core.list_node, label_selector=selector, limit=limit, _continue=token)
            yield from page.get("items") or []
            limit, token = NEXT_PAGES, page["metadata"].get("continue")
            if not token:
                return

    def follow(self, pod: Json, enough: Callable[[Json], bool], until: float) -> Json | None:
        """Follows a pod until `enough`, until it is gone (None), or until the clock; gives what was seen last.
        A watch may end in any way: what is read next counts."""
        seen = self.read_same(pod)
        waits = pauses()
        while seen and not enough(seen) and (left := until - time.monotonic()) > 0:
            if self._watch(seen, enough, left):
                waits = pauses()
            else:
                time.sleep(max(0, min(next(waits), until - time.monotonic())))
            seen = self.read_same(pod)
        return seen

    def read_same(self, pod: Json) -> Json | None:
        """The very pod, None when it is gone, be there another of its name or not."""
        meta = pod["metadata"]
        seen = self.read_pod(meta["namespace"], meta["name"])
        return seen if seen and seen["metadata"]["uid"] == meta["uid"] else None

    def _watch(self, seen: Json, enough: Callable[[Json], bool], left: float) -> bool:
        """Watches once; False when the watch could not be had or told nothing, so that the next one must wait."""
        meta = seen["metadata"]
        seconds = max(1, round(min(left, WATCH_SECONDS)))
        began, told, response = time.monotonic(), False, None
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
                told = True
                if event["type"] == "DELETED" or enough(event["object"]):
                    return True
        except (ApiException, HTTPError, json.JSONDecodeError) as error:
            log.debug("the watch of pod %s ended: %s", meta["name"], error)
        finally:
            if response is not None:
                response.close()
        return told or time.monotonic() - began >= seconds - 1


def without_own_repetitions(api: client.ApiClient) -> client.ApiClient:
    """The same client without urllib3's own retries: those obey any Retry-After, be it an hour."""
    configuration = copy.deepcopy(api.configuration)
    configuration.retries = False
    own = client.ApiClient(configuration, cookie=api.cookie)
    own.default_headers = dict(api.default_headers)
    return own


def pauses() -> Iterator[float]:
    """Pauses that double up to five seconds, each shortened at random so that callers do not come together."""
    pause = 0.2
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(5, pause * 2)


def explain(what: str, error: Exception) -> str:
    """The sentence for an error that may pass; raises RefusedError for one that does not."""
    if not isinstance(error, ApiException):
        return f"cannot {what}: {error}"
    sentence = f"cannot {what}: {error.status} {api_message(error)}"
    if error.status not in TRANSIENT:
        raise RefusedError(error.status, sentence) from error
    return sentence


def api_message(error: ApiException) -> str:
    """The API server's own sentence."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or "")


def retry_after(error: Exception) -> float:
    """What the API server asks to wait, in seconds; 0 where it does not ask."""
    headers = getattr(error, "headers", None) or {}
    text = str(headers.get("Retry-After") or "")
    return float(text) if text.isdecimal() else 0
