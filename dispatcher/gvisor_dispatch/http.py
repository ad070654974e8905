"""Requests with the credentials of the official client, as plain JSON: its models differ between versions. The one
transport blocks its thread, the other suspends its task."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import socket
import ssl
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import aiohttp
import urllib3
from kubernetes import client
from urllib3.util.ssl_ import create_urllib3_context

from .errors import ClosedError
from .pods import Json

T = TypeVar("T")

# Seconds of one request, for connecting and for reading.
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
# One for each thread that waits for a pod.
MAX_KEPT_CONNECTIONS = 1024


class NoResponseError(Exception):
    """The connection failed or timed out, or something else than the API server answered."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    read_seconds: float = READ_SECONDS

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def content(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        return parsed(self.body)


def parsed(text: bytes) -> Json:
    """An object of the API."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NoResponseError(str(error)) from error
    if not isinstance(found, dict):
        raise NoResponseError(f"no object, but {text[:40]!r}")
    return found


# Receives a line, and returns whether to end the stream.
LineReader = Callable[[bytes], bool]


class Transport(ABC):
    async def send(self, request: Request) -> Response:
        """A caller that ends while it writes does so once the outcome is known, so that it can find what it wrote."""
        sending = self._send(request)
        return await (sending if request.method == "GET" else self.to_its_end(sending))

    @abstractmethod
    async def _send(self, request: Request) -> Response: ...

    @abstractmethod
    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work that no cancellation and no exception of a signal stops. They reach the caller afterwards."""

    @abstractmethod
    async def stream(self, request: Request, read_line: LineReader) -> int:
        """Returns the status; `read_line` gets each line of a successful response."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    async def wait(self, seconds: float) -> None:
        """Raises ClosedError from `end` on, as `stream` does."""

    @abstractmethod
    async def end(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...


class Credentials:
    """Tokens are refreshed as the client does it."""

    def __init__(self, api: client.ApiClient) -> None:
        self.configuration: Any = copy.deepcopy(api.configuration)
        self.configuration.connection_pool_maxsize = MAX_KEPT_CONNECTIONS
        self._headers = {**api.default_headers, "Accept": "application/json", "Content-Type": "application/json"}
        if api.cookie:
            self._headers["Cookie"] = api.cookie
        self._lock = threading.Lock()
        self._pool, self._process = self._new_pool(), os.getpid()
        proxied = isinstance(self._pool, urllib3.ProxyManager)
        self.proxy = (self.configuration.proxy, self.configuration.proxy_headers) if proxied else (None, None)

    def _new_pool(self) -> urllib3.PoolManager:
        made: Any = client.ApiClient(self.configuration).rest_client
        found: urllib3.PoolManager = made.pool_manager
        return found

    @property
    def pool(self) -> urllib3.PoolManager:
        """A process that was forked must not read from its parent's connections."""
        if self._process != os.getpid():
            self._pool, self._process = self._new_pool(), os.getpid()
        return self._pool

    def url(self, request: Request) -> str:
        return f"{self.configuration.host.rstrip('/')}{request.target}"

    def headers(self) -> dict[str, str]:
        """May run a credential plugin."""
        with self._lock:
            found = self.configuration.auth_settings().values()
        return {**self._headers, **{one["key"]: one["value"] for one in found if one["value"]}}

    def tls(self) -> ssl.SSLContext:
        """The TLS settings of `pool`, for another library."""
        given = self.configuration
        context: ssl.SSLContext = create_urllib3_context()
        if not given.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        authorities = {"cafile": given.ssl_ca_cert or None, "cadata": getattr(given, "ca_cert_data", None) or None}
        if any(authorities.values()):
            context.load_verify_locations(**authorities)
        else:
            context.load_default_certs()
        if given.assert_hostname is False:
            context.check_hostname = False
        if given.cert_file:
            context.load_cert_chain(given.cert_file, given.key_file)
        return context


class BlockingTransport(Transport):
    """Its coroutines never suspend, so `finish` runs them to their end in the calling thread."""

    def __init__(self, api: client.ApiClient) -> None:
        self._credentials = Credentials(api)
        self._ended = threading.Event()
        self._streams: set[Any] = set()

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        outcome: Future[T] = Future()

        def run() -> None:
            if not outcome.set_running_or_notify_cancel():
                return
            try:
                outcome.set_result(finish(work))
            except BaseException as error:
                outcome.set_exception(error)

        interruption: BaseException | None = None
        try:
            threading.Thread(target=run).start()  # signals interrupt the main thread alone
        except BaseException as error:
            if outcome.cancel():
                work.close()
                raise
            interruption = error  # while the thread began its work
        while True:
            try:
                outcome.exception()
                break
            except BaseException as error:
                interruption = error
        if interruption:
            raise interruption
        return outcome.result()

    async def stream(self, request: Request, read_line: LineReader) -> int:
        await self.wait(0)
        response = None
        try:
            response = self._open(request, preload_content=False)
            self._streams.add(response)
            await self.wait(0)  # if the end came before the stream was known
            if response.status == 200:
                any(read_line(line) for line in response)
            return int(response.status)
        except urllib3.exceptions.HTTPError as error:
            raise NoResponseError(str(error)) from error
        finally:
            if response is not None:
                self._streams.discard(response)
                response.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise ClosedError

    async def end(self) -> None:
        """Also wakes the threads that read a stream."""
        self._ended.set()
        for response in tuple(self._streams):
            if connected := getattr(response.connection, "sock", None):
                with suppress(OSError):
                    # Not SSLSocket's, which takes the TLS state from the thread that reads.
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)

    async def close(self) -> None:
        self._credentials.pool.clear()

    async def _send(self, request: Request) -> Response:
        try:
            found = self._open(request, preload_content=True)
            return Response(found.status, found.headers, found.data)
        except urllib3.exceptions.HTTPError as error:
            raise NoResponseError(str(error)) from error

    def _open(self, request: Request, *, preload_content: bool) -> Any:  # noqa: ANN401
        return self._credentials.pool.request(
            request.method,
            self._credentials.url(request),
            body=request.content,
            headers=self._credentials.headers(),
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=request.read_seconds),
            retries=False,  # urllib3 obeys any Retry-After, even an hour
            redirect=False,
            preload_content=preload_content,
        )


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on a BlockingTransport."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the coroutine suspended")


class Unstoppable(asyncio.Task[T]):
    """Also the end of its event loop waits for it. A task that is cancelled while it awaits this one ends after it."""

    def cancel(self, msg: object = None) -> bool:
        return False


class AsyncTransport(Transport):
    """It occupies no thread, except while a credential plugin runs."""

    def __init__(self, api: client.ApiClient) -> None:
        self._credentials = Credentials(api)
        self._sessions = WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession]()
        self._ended = False
        self._waits: dict[asyncio.Timeout, asyncio.AbstractEventLoop] = {}

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        anyio: Any = sys.modules.get("anyio")
        # A cancelled scope of anyio cancels again in each turn of the event loop, which keeps a CPU busy.
        with anyio.CancelScope(shield=True) if anyio else nullcontext():
            return await Unstoppable(work)

    async def stream(self, request: Request, read_line: LineReader) -> int:
        rest = b""
        async with self._until_end():
            try:
                async with await self._open(request) as response:
                    if response.status != 200:
                        return response.status
                    async for chunk in response.content.iter_any():
                        *lines, rest = (rest + chunk).split(b"\n")
                        if any(read_line(line) for line in lines if line):
                            break
                    return response.status
            except (aiohttp.ClientError, OSError) as error:
                raise NoResponseError(str(error) or type(error).__name__) from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, seconds: float) -> None:
        async with self._until_end():
            await asyncio.sleep(seconds)

    async def end(self) -> None:
        self._ended = True
        for one, loop in tuple(self._waits.items()):
            loop.call_soon_threadsafe(self._expire, one)

    def _expire(self, one: asyncio.Timeout) -> None:
        if one in self._waits and not one.expired():
            one.reschedule(0)

    async def close(self) -> None:
        """Closes the connections of this event loop."""
        if session := self._sessions.get(asyncio.get_running_loop()):
            await session.close()

    @asynccontextmanager
    async def _until_end(self) -> AsyncIterator[None]:
        """Ends what is awaited inside, with ClosedError, once `end` is called."""
        if self._ended:
            raise ClosedError
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waits[scope] = asyncio.get_running_loop()
                yield
        except TimeoutError as error:
            if scope.expired():
                raise ClosedError from error
            raise
        finally:
            self._waits.pop(scope, None)

    async def _send(self, request: Request) -> Response:
        try:
            async with await self._open(request) as response:
                return Response(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise NoResponseError(str(error) or type(error).__name__) from error

    async def _open(self, request: Request) -> aiohttp.ClientResponse:
        given, loop = self._credentials.configuration, asyncio.get_running_loop()
        if (session := self._sessions.get(loop)) is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=self._credentials.tls()))
            self._sessions[loop] = session
        refreshes = given.refresh_api_key_hook is not None
        headers = await asyncio.to_thread(self._credentials.headers) if refreshes else self._credentials.headers()
        proxy, proxy_headers = self._credentials.proxy
        try:
            return await session.request(
                request.method,
                self._credentials.url(request),
                data=request.content,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=request.read_seconds),
                allow_redirects=False,
                server_hostname=given.tls_server_name or given.assert_hostname or None,
                proxy=proxy,
                proxy_headers=proxy_headers,
            )
        except Exception as error:
            if session.closed:  # aiohttp raises RuntimeError, AssertionError or AttributeError then
                raise ClosedError from error
            raise
