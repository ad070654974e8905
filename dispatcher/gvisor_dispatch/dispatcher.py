"""Starts evaluation pods under a policy, each once, even if callers crash or the API server is unreachable."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import quote

from kubernetes import client

from .api import Api, backoff_delays, event_path, pod_path, title
from .availability import Availability, availability, read_class, trace_of_gvisor
from .creating import create
from .decision import Decision, Started, fallback_event, log_decision
from .errors import (
    ClosedError,
    ClusterError,
    ConflictError,
    DispatchError,
    PodError,
    PolicyError,
    RefusedError,
    RetryLaterError,
)
from .explanation import Explainer, Explanation, of_all
from .http import AsyncTransport, BlockingTransport, Transport, finish
from .pods import (
    ID_ANNOTATION,
    MESSAGE_ANNOTATION,
    REASON_ANNOTATION,
    Json,
    Manifest,
    annotation,
    as_json,
    checked,
    decided_outside,
    digest,
    has_started,
    is_terminating,
    named,
    never_starts,
    place_of,
    template_of,
    why_delayed,
)
from .settings import Policy, Settings
from .slots import Slots, Turn
from .starting import await_gone, delete, remove, start, withdraw

log = logging.getLogger("gvisor_dispatch")

# Labels of a namespace. The second lets "prefer" and "no-gvisor" create pods without gVisor; the first overrides it.
REQUIRE_LABEL, CONSENT_LABEL = "gvisor-ready.dev/require", "gvisor-ready.dev/allow-host-kernel"
# Pods that one call creates, one after the other, when kubelets reject them or nodes fail.
ATTEMPTS = 3
# Another pod would only wait again.
FINAL = ("Unschedulable", "StartDeadlineExceeded")
# What explains a pod that runs where it was decided.
AS_DECIDED = ("InGVisor", "NoRuntimeClass")
# How long it may be unknown whether pods run in gVisor.
CONFIRM_SECONDS = 60
# The Job controller's, on its pods.
JOB_LABEL = "batch.kubernetes.io/job-name"
# For what a call that ends early still has to do.
ENDING_SECONDS = 10
# Between attempts at a full quota.
MAX_QUOTA_SECONDS = 15


class AsyncDispatcher:
    """Creates pods under a policy. The API server allows one pod of a name, so a second caller, or call, adopts the
    pod of the first. rbac.yaml has the permissions. A cancelled `dispatch` removes its pod, unless that has
    started."""

    def __init__(
        self, api: client.ApiClient, settings: Settings | None = None, transport: Transport | None = None
    ) -> None:
        self._settings = settings or Settings()
        self._transport = transport or AsyncTransport(api)
        self._api = Api(self._transport, self._settings.api_deadline)
        self._ending_api = Api(self._transport, min(ENDING_SECONDS, self._settings.api_deadline), closing=True)
        self._calls: set[object] = set()
        self._slots = Slots(self._settings.max_starting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends each `dispatch` that still waits, with RetryLaterError, and closes the connections. Their pods are
        removed, unless they have started."""
        await self._transport.end()
        until = time.monotonic() + ENDING_SECONDS
        while self._calls and time.monotonic() < until:
            await self._transport.sleep(0.05)
        await self._transport.close()

    async def ask(self, pod: Manifest | None = None, enough: int = 1) -> Availability:
        """Whether this pod, or any, could run in gVisor now; names up to `enough` nodes that take it. Raises PodError
        for a pod that chooses its own node or another runtime, or that starts in gVisor nowhere."""
        template = template_of(as_json(pod)) if pod is not None else None
        spec = checked(template, self._settings.runtime_class)["spec"] if template is not None else {}
        if fields := never_starts(spec):
            sentence = f"no pod starts in gVisor with {fields}: kubectl gvisor-ready check -f says what to do"
            raise PodError("PodCannotStart", sentence)
        found = await read_class(self._api, self._settings.runtime_class, self._settings)
        if isinstance(found, Availability):
            return found
        return await availability(self._api, found, spec, self._settings, enough)

    async def explain(self, made: Manifest) -> Explanation:
        """Why any program's pod, or the pods of its Job, run in gVisor or do not. Needs only name, namespace and, of a
        Job, the kind."""
        given = as_json(made)
        namespace, name = place_of(given)
        if given.get("kind") == "Job":
            return of_all(await self.explain_selected(namespace, f"{JOB_LABEL}={name}"))
        seen = await self._api.read_pod(namespace, name)
        if seen is None:
            return Explanation(None, "PodMissing", f"there is no pod {namespace}/{name}")
        return await Explainer(self._api, self._settings).explain(seen)

    async def explain_selected(self, namespace: str, selector: str) -> dict[str, Explanation]:
        """Explains the pods that a label selector finds, such as those of a Job or a Helm release, by their names."""
        path = pod_path(namespace)
        found = await self._api.read(f"list pods of {namespace}", path, labelSelector=selector)
        explainer = Explainer(self._api, self._settings)
        return {pod["metadata"]["name"]: await explainer.explain(pod) for pod in found.get("items") or []}

    async def confirm_selected(self, namespace: str, selector: str) -> None:
        """Returns once `explain` says of each pod that a label selector finds that it runs in gVisor: it has started
        with a class of gVisor on a node that is proven now, and that node's agent sees it in gVisor, or has had 30 s
        to say otherwise.
        Raises PolicyError for a pod outside, and RetryLaterError if that stays unknown, or if there is no pod."""
        until = time.monotonic() + CONFIRM_SECONDS
        for delay in backoff_delays():
            pods = await self.explain_selected(namespace, selector)
            said = {name: f"{name}: {one.reason}: {one.message}" for name, one in pods.items()}
            if outside := [said[name] for name, one in pods.items() if one.in_gvisor is False]:
                raise PolicyError("RunsOutside", f"pods run without gVisor: {'; '.join(outside)}")
            unknown = [said[name] for name, one in pods.items() if not one.in_gvisor]
            if pods and not unknown:
                return
            if time.monotonic() + delay > until:
                why = "; ".join(unknown) or f"there is no pod {selector} in {namespace}"
                raise RetryLaterError("PlaceUnknown", f"not known to run in gVisor, after {CONFIRM_SECONDS} s: {why}")
            await self._api.sleep(delay)

    async def decide(self, pod: Manifest | None, policy: Policy, namespace: str, enough: int = 1) -> Decision:
        """Where a pod, a pod template or a Job may run now, for a platform that creates its pods itself. Raises
        PolicyError, RetryLaterError, ClusterError or PodError where it may not."""
        given = None if pod is None else as_json(pod)
        place = {"namespace": namespace, "policy": policy.value}
        try:
            if given is not None:
                checked(template_of(given), self._class_under(policy))
            found = await self._decide(given, policy, namespace, enough)
        except DispatchError as error:
            what = "later" if isinstance(error, RetryLaterError) else "refused"
            log_decision(what, given, **place, reason=error.reason, message=error.message)
            raise
        what = "gvisor" if found.in_gvisor else "host"
        log_decision(what, given, **place, reason=found.reason, message=found.message)
        return found

    async def _decide(self, made: Json | None, policy: Policy, namespace: str, enough: int) -> Decision:
        name = self._settings.runtime_class
        if policy is Policy.NO_GVISOR:
            await self._refuse_traces()
            if why := await self._why_no_fallback(namespace, made):
                raise PolicyError("NoConsent", why)
            sentence = '"no-gvisor" was chosen, and neither a RuntimeClass nor a node shows a trace of gVisor'
            return Decision(False, "NoGVisor", sentence, policy, name)
        found = await self.ask(made, enough)
        reason, message = found.reason, found.message
        if found.misconfigured:
            raise ClusterError(reason, message)
        if found.available or policy is Policy.WAIT:
            return Decision(True, reason, message, policy, name, found.nodes)
        if not found.gvisor_fails:
            raise (ClusterError if found.withheld else RetryLaterError)(reason, message)
        if policy is not Policy.PREFER:
            raise PolicyError(reason, message)
        if why := await self._why_no_fallback(namespace, made):
            raise PolicyError(reason, f'"prefer" acts as "require": {why}; {message}')
        return Decision(False, reason, message, policy, name)

    async def _refuse_traces(self) -> None:
        if trace := await trace_of_gvisor(self._api, self._settings):
            raise PolicyError("GVisorPresent", f'"no-gvisor" is for clusters without gVisor, and this has {trace}')

    def _class_under(self, policy: Policy) -> str:
        """None where the policy may have to leave it."""
        return self._settings.runtime_class if policy in (Policy.REQUIRE, Policy.WAIT) else ""

    async def create(self, manifest: Manifest, policy: Policy, dispatch_id: str = "") -> Json:
        """Creates a pod or a Job under a policy, or adopts the one of an earlier call with the same id, and does not
        wait for it. Pods of a Job in gVisor never move to the host's kernel later. Raises what `decide` raises,
        PodError, and ConflictError if another program's object has the name. A call that ends early removes what it
        created, as `dispatch` does."""
        made = as_json(manifest)
        kind, namespace = made.get("kind") or "Pod", (made.get("metadata") or {}).get("namespace")
        if kind not in ("Pod", "Job") or not namespace:
            raise PodError("PodRefused", "create needs a Pod or a Job with metadata.namespace")
        checked(template_of(made), self._class_under(policy))
        made, mine = named(made, dispatch_id)
        async with self._call(made, mine):
            return await self._create_once(made, mine, policy)

    async def _create_once(self, made: Json, mine: str, policy: Policy) -> Json:
        created = await self._api.read_object(made)
        decision = None
        if created is None:
            decision = await self.decide(made, policy, made["metadata"]["namespace"])
            created = await self._create(decision.applied(made, mine))
            if created is None:  # an earlier request of this call, or another call, was faster
                decision, created = None, await self._api.read_object(made)
        if created is None:
            raise RetryLaterError("ApiConflict", f"cannot create {title(made)}: 409, but it does not exist")
        await self._check_place(created, mine, policy, decision)
        if is_terminating(created):
            raise RetryLaterError("PodNotGone", f"{title(made)} is being deleted")
        template = template_of(created)
        if not template["spec"].get("runtimeClassName"):
            await self._report_fallback(created, why_outside(template))
        return created

    async def record(self, created: Manifest, decision: Decision) -> None:
        """Records a fallback in the log and in an Event on the created object; does nothing for a pod in gVisor."""
        if not decision.in_gvisor:
            await self._report_fallback(as_json(created), f"{decision.reason}: {decision.message}")

    async def dispatch(self, pod: Manifest, policy: Policy, dispatch_id: str = "") -> Started:
        """Starts the pod, or adopts the one of an earlier call with the same id, and returns once a container of it
        runs. The id identifies the evaluation; without one, a digest of the manifest does.

        Raises a DispatchError. A call that ends early, by Ctrl-C, another exception of a signal, cancellation or
        `close`, removes the pod unless it has started."""
        manifest = checked(pod, self._class_under(policy))
        mine = dispatch_id or digest(manifest)
        place_of(manifest)
        async with self._call(manifest, mine):
            with Turn(self._slots) as turn:
                return await self._dispatch(manifest, mine, policy, turn)

    @asynccontextmanager
    async def _call(self, made: Json, mine: str) -> AsyncIterator[None]:
        """Removes what an evaluation has, unless it has started, if the call neither returns nor raises an error that
        says what is left."""
        await self._api.sleep(0)
        call = object()
        self._calls.add(call)
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            if not isinstance(error, DispatchError) or isinstance(error, ClosedError):
                await self._transport.to_its_end(self._call_off(made, mine))
            raise
        finally:
            self._calls.discard(call)

    async def _call_off(self, made: Json, mine: str) -> None:
        try:
            seen = await self._ending_api.read_object(made)
            if seen and annotation(seen, ID_ANNOTATION) == mine:
                await (delete if self._was_moved(seen) else withdraw)(self._ending_api, seen)
        except DispatchError as error:
            log.warning("%s may start later, as it could not be removed: %s", title(made), error.message)

    async def _dispatch(self, manifest: Json, mine: str, policy: Policy, turn: Turn) -> Started:
        namespace, name = place_of(manifest)
        waits_until = time.monotonic() + self._settings.wait_deadline
        failure: DispatchError | None = None
        tries = 0
        while True:
            seen = await self._api.read_pod(namespace, name)
            adopted, decision = seen is not None, None
            if seen is None:
                await turn.take(self._api, waits_until)
                decision = await self.decide(manifest, policy, namespace)
                if failure and is_final(decision, tries, failure):
                    raise failure
                tries += 1
                seen = await self._create_in_time(decision.applied(manifest, mine), policy, waits_until)
                if seen is None:  # another call was faster: adopt its pod
                    failure = RetryLaterError(
                        "ApiConflict", f"cannot create pod {namespace}/{name}: 409, without a pod"
                    )
                    continue
            await self._check_place(seen, mine, policy, decision)
            if adopted and is_terminating(seen):
                await await_gone(self._api, seen, self._settings.remove_deadline)
                continue
            until = waits_until if policy is Policy.WAIT else time.monotonic() + self._settings.schedule_deadline
            outcome = await self._start(seen, until, turn)
            if isinstance(outcome, PodError):
                raise outcome
            if isinstance(outcome, DispatchError):
                failure = outcome
            elif outcome:
                return await self._started(outcome, adopted=adopted)
            elif await self._api.read_pod(namespace, name) is None:
                raise ConflictError("PodRemoved", f"pod {namespace}/{name} was removed before it started")

    async def cancel(self, manifest: Manifest, dispatch_id: str = "") -> Started | None:
        """Removes the pod, or the Job, of an evaluation, for example after a crash of its caller. Returns None once it
        is gone, and what has started unharmed."""
        made = as_json(manifest)
        checked(template_of(made), self._settings.runtime_class)
        place_of(made)
        seen = await self._api.read_object(made)
        if seen is None:
            return None
        if annotation(seen, ID_ANNOTATION) != (dispatch_id or digest(made)):
            raise name_taken(seen)
        is_job = made.get("kind") == "Job"
        left = await (withdraw(self._api, seen) if is_job else remove(self._api, seen, self._settings.remove_deadline))
        return await self._started(left, adopted=True) if left else None

    async def _started(self, made: Json, *, adopted: bool) -> Started:
        """An error hides none, since the pod runs."""
        explainer = Explainer(self._api, self._settings)
        try:
            is_job = made.get("kind") == "Job"
            seen = await (self.explain(made) if is_job else explainer.explain_so_far(made))
        except DispatchError as error:
            seen = Explanation(None, error.reason, error.message)
        template = template_of(made)
        reason, message = annotation(template, REASON_ANNOTATION), annotation(template, MESSAGE_ANNOTATION)
        if seen.reason not in AS_DECIDED:
            reason, message = seen.reason, seen.message
        meta, node = made["metadata"], made["spec"].get("nodeName") or ""
        return Started(meta["namespace"], meta["name"], node, seen.in_gvisor, reason, message, adopted)

    async def _create_in_time(self, pod: Json, policy: Policy, waits_until: float) -> Json | None:
        """None if the name is taken. Policy.WAIT waits for room in a quota."""
        for delay in backoff_delays(MAX_QUOTA_SECONDS):
            try:
                return await self._create(pod)
            except RetryLaterError as error:
                if policy is not Policy.WAIT or error.reason == "ApiUnavailable":
                    raise
                if time.monotonic() + delay > waits_until:
                    raise
                log.info("%s; trying again in %.1f s", error.message, delay)
            await self._api.sleep(delay)
        raise AssertionError("backoff_delays() never ends")

    async def _create(self, made: Json) -> Json | None:
        """None if the name is taken."""
        try:
            return await create(self._api, made)
        except PodError as error:
            found = await read_class(self._api, self._settings.runtime_class, self._settings)
            if isinstance(found, Availability):  # the RuntimeClass was deleted meanwhile
                raise ClusterError(found.reason, found.message) from error
            raise

    async def _start(self, pod: Json, until: float, turn: Turn) -> Json | DispatchError | None:
        settings = self._settings
        if pod["spec"].get("runtimeClassName") == settings.runtime_class:
            return await start(self._api, pod, until, settings, turn)
        await self._report_fallback(pod, why_outside(pod))
        outcome = await start(self._api, pod, time.monotonic() + settings.schedule_deadline, settings, turn)
        if isinstance(outcome, DispatchError):
            raise type(outcome)(outcome.reason, f"nor did the fallback start: {outcome.message}")
        return outcome

    async def _why_no_fallback(self, namespace: str, made: Json | None) -> str:
        """Why a pod or a Job may not leave gVisor in this namespace. One that cannot be read does not consent."""
        if made and (why := why_delayed(made)):
            return f"a fallback is a decision of now, and {why}"
        try:
            found = await self._api.read(f"read namespace {namespace}", f"/api/v1/namespaces/{quote(namespace)}")
        except RefusedError as error:
            return error.message
        labels = found["metadata"].get("labels") or {}
        if labels.get(REQUIRE_LABEL) == "true":
            return f'namespace {namespace} has the label {REQUIRE_LABEL}: "true"'
        consents = labels.get(CONSENT_LABEL) == "true"
        return "" if consents else f'namespace {namespace} does not have the label {CONSENT_LABEL}: "true"'

    async def _check_place(self, seen: Json, mine: str, policy: Policy, decision: Decision | None) -> None:
        """Looks at what the API server keeps of a pod or a Job: what this call made by a decision, or adopts. Raises
        for another program's, and for what would run outside against the policy, which is removed: but not what has
        started by an earlier call's decision to leave gVisor."""
        if decision is None and annotation(seen, ID_ANNOTATION) != mine:
            raise name_taken(seen)
        if self._is_in_class(seen):
            return
        try:
            if decision:
                decision.check_age()
            if why := await self._why_not_outside(seen, policy):
                raise PolicyError("RunsOutside", f"{title(seen)} is outside gVisor: {why}")
            if decision is None and policy is Policy.NO_GVISOR and not has_started(seen):
                await self._refuse_traces()
        except DispatchError as error:
            if decision is None and not isinstance(error, PolicyError):
                raise
            left = await self._remove_outside(seen, even_started=decision is not None or self._was_moved(seen))
            raise type(error)(error.reason, f"{error.message}; {left}") from error

    def _is_in_class(self, made: Json) -> bool:
        found: object = template_of(made)["spec"].get("runtimeClassName")
        return found == self._settings.runtime_class

    def _was_moved(self, seen: Json) -> bool:
        """Whether it is outside gVisor, though nobody decided that."""
        return not self._is_in_class(seen) and not decided_outside(seen)

    async def _why_not_outside(self, seen: Json, policy: Policy) -> str:
        if self._was_moved(seen):
            return f"it was created with runtimeClassName {self._settings.runtime_class}, and admission changed that"
        if policy in (Policy.PREFER, Policy.NO_GVISOR):
            return await self._why_no_fallback(seen["metadata"]["namespace"], seen)
        return f"an earlier call fell back, and the policy {policy.value} forbids that"

    async def _remove_outside(self, seen: Json, *, even_started: bool) -> str:
        """What became of it."""
        try:
            if even_started:
                await delete(self._api, seen)
            elif await withdraw(self._api, seen):
                return "it has started, and stays"
        except DispatchError as error:
            log.warning("%s runs WITHOUT gVisor, and could not be removed: %s", title(seen), error.message)
            return f"it could not be removed: {error.message}"
        return "it was removed"

    async def _report_fallback(self, subject: Json, decision: str) -> None:
        """A failed Event is only logged, since the pod has the record too."""
        meta = subject["metadata"]
        log.warning("%s/%s runs WITHOUT gVisor: %s", meta["namespace"], meta["name"], decision)
        event = fallback_event(subject, decision)
        try:
            await self._api.create("write an Event", event_path(meta["namespace"]), event)
        except DispatchError as error:
            if not (isinstance(error, RefusedError) and error.status == 409):  # an earlier call wrote it
                log.warning("%s", error.message)


class Dispatcher:
    """An AsyncDispatcher whose calls block their thread. One serves many threads. `close` ends the calls of all."""

    def __init__(self, api: client.ApiClient, settings: Settings | None = None) -> None:
        self._async = AsyncDispatcher(api, settings, BlockingTransport(api))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends each `dispatch` that still waits, in any thread, with RetryLaterError, and closes the connections. Their
        pods are removed, unless they have started."""
        finish(self._async.close())

    def ask(self, pod: Manifest | None = None, enough: int = 1) -> Availability:
        """Whether this pod, or any, could run in gVisor now; names up to `enough` nodes that take it."""
        return finish(self._async.ask(pod, enough))

    def explain(self, made: Manifest) -> Explanation:
        """Why any program's pod, or the pods of its Job, run in gVisor or do not. Needs only name, namespace and, of a
        Job, the kind."""
        return finish(self._async.explain(made))

    def explain_selected(self, namespace: str, selector: str) -> dict[str, Explanation]:
        """Explains the pods that a label selector finds, by their names."""
        return finish(self._async.explain_selected(namespace, selector))

    def confirm_selected(self, namespace: str, selector: str) -> None:
        """Returns once each pod that a label selector finds runs in gVisor, as far as `explain` can say."""
        finish(self._async.confirm_selected(namespace, selector))

    def decide(self, pod: Manifest | None, policy: Policy, namespace: str, enough: int = 1) -> Decision:
        """Where a pod, a pod template or a Job may run now, for a platform that creates its pods itself."""
        return finish(self._async.decide(pod, policy, namespace, enough))

    def create(self, manifest: Manifest, policy: Policy, dispatch_id: str = "") -> Json:
        """Creates a pod or a Job, or adopts the one of an earlier call with the same id, without waiting."""
        return finish(self._async.create(manifest, policy, dispatch_id))

    def record(self, created: Manifest, decision: Decision) -> None:
        """Records a fallback in the log and in an Event on the created object."""
        finish(self._async.record(created, decision))

    def dispatch(self, pod: Manifest, policy: Policy, dispatch_id: str = "") -> Started:
        """Starts the pod, or adopts the one of an earlier call with the same id, and returns once a container runs."""
        return finish(self._async.dispatch(pod, policy, dispatch_id))

    def cancel(self, manifest: Manifest, dispatch_id: str = "") -> Started | None:
        """Removes the pod, or the Job, of an evaluation. Returns None once it is gone; what has started stays."""
        return finish(self._async.cancel(manifest, dispatch_id))


def is_final(decision: Decision, tries: int, failure: DispatchError) -> bool:
    """A fallback gets an attempt of its own, after those in gVisor."""
    return tries > ATTEMPTS or (decision.in_gvisor and (tries == ATTEMPTS or failure.reason in FINAL))


def why_outside(pod: Json) -> str:
    return f"{annotation(pod, REASON_ANNOTATION)}: {annotation(pod, MESSAGE_ANNOTATION)}"


def name_taken(seen: Json) -> ConflictError:
    sentence = f"{title(seen)} exists and is not of this evaluation: choose another name, or give that evaluation's id"
    return ConflictError("NameTaken", sentence)
