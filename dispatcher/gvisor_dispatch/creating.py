"""Creates a pod or a Job, and says what a caller can do where the API server refuses it."""

from __future__ import annotations

import re
from typing import Any

from kubernetes.utils import quantity

from .api import Api, objects_path, title
from .errors import DispatchError, PodError, RefusedError, RetryLaterError
from .pods import Json

# https://kubernetes.io/docs/reference/access-authn-authz/authorization/
NOT_AUTHORIZED = re.compile(r'is forbidden: User ".*" cannot \w+ resource')
# https://kubernetes.io/docs/concepts/policy/resource-quotas/
QUOTA = re.compile(r"exceeded quota: \S+, requested: (\S+), used: \S+, limited: (\S+)")
# The quota's controller has not counted yet, or a new namespace has no ServiceAccount.
SOON = ("status unknown for quota", 'serviceaccount "default" not found')


async def create(api: Api, made: Json) -> Json | None:
    """None if the name is taken. Raises RetryLaterError, PodError or ClusterError."""
    try:
        return await api.create(f"create {title(made)}", objects_path(made), made)
    except RefusedError as error:
        if error.status == 409:
            return None
        raise refusal(error) from error


def refusal(error: RefusedError) -> DispatchError:
    """Admission refuses with 403, 422 or a status of a webhook's choice."""
    message = error.message
    if error.status == 403 and "exceeded quota" in message:
        if never_fits(message):
            return PodError("PodRefused", f"{message} (more than the quota has)")
        return RetryLaterError("QuotaExceeded", message)
    if error.status == 403 and any(text in message for text in SOON):
        return RetryLaterError("QuotaExceeded" if "quota" in message else "NamespaceNew", message)
    if error.status in (401, 404) or NOT_AUTHORIZED.search(message) or "is being terminated" in message:
        return error
    return PodError("PodRefused", message)


def never_fits(message: str) -> bool:
    """Whether it is more than the whole quota."""
    found = QUOTA.search(message)
    if not found:
        return False
    requested, limited = (amounts(text) for text in found.groups())
    return any(requested[key] > limited[key] for key in requested.keys() & limited.keys())


def amounts(text: str) -> dict[str, Any]:
    """The amounts in a text such as "cpu=500m,pods=1"."""
    parse: Any = quantity.parse_quantity
    pairs = (part.partition("=") for part in text.split(","))
    return {key: parse(value) for key, _, value in pairs}
