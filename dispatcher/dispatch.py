"""A worked example of gvisor_dispatch: start one pod under a policy and print what became of it, as JSON.

Exit codes: 0 the pod started (see "in_gvisor"), 3 refused and nothing is left, 4 a pod could not be removed,
2 wrong usage, 1 anything else."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from gvisor_dispatch import Dispatcher, GVisorUnavailableError, PodNotGoneError, Policy, Settings


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line; argparse ends the program with 2 on a wrong one."""
    fallback = Settings()
    parser = argparse.ArgumentParser(prog="dispatch.py", description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True, choices=[policy.value for policy in Policy])
    parser.add_argument("--image", required=True)
    parser.add_argument("--name", required=True, help="name of the pod; a fallback has the same")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--runtime-class", default=fallback.runtime_class)
    parser.add_argument("--handler", default=fallback.handler, help="the handler that the agent proves")
    parser.add_argument("--start-deadline", type=seconds, default=fallback.start_deadline, metavar="SECONDS")
    parser.add_argument("--remove-deadline", type=seconds, default=fallback.remove_deadline, metavar="SECONDS")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="what the pod runs; the last option")
    return parser.parse_args(words)


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def pod_of(options: argparse.Namespace) -> client.V1Pod:
    """An evaluation pod: no token, no privileges, no restart."""
    container = client.V1Container(
        name="evaluation",
        image=options.image,
        command=options.command or None,
        security_context=client.V1SecurityContext(
            allow_privilege_escalation=False, capabilities=client.V1Capabilities(drop=["ALL"])
        ),
    )
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=options.name, namespace=options.namespace),
        spec=client.V1PodSpec(
            containers=[container],
            restart_policy="Never",
            automount_service_account_token=False,
            termination_grace_period_seconds=1,
        ),
    )


def main(words: Sequence[str]) -> int:
    options = parse(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    settings = Settings(
        runtime_class=options.runtime_class,
        handler=options.handler,
        start_deadline=options.start_deadline,
        remove_deadline=options.remove_deadline,
    )
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config()
        dispatcher = Dispatcher(client.ApiClient(), settings)
        started = dispatcher.dispatch(pod_of(options), Policy(options.policy))
    except GVisorUnavailableError as error:
        print(json.dumps({"reason": error.reason, "message": error.message}))
        return 3
    except PodNotGoneError as error:
        print(json.dumps({"reason": "PodNotGone", "message": str(error)}))
        return 4
    except ApiException as error:
        print(f"The API server refused: {error.status} {api_message(error)}", file=sys.stderr)
        return 1
    except (config.ConfigException, urllib3.exceptions.HTTPError) as error:
        print(f"Cannot reach the API server: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(started)))
    return 0


def api_message(error: ApiException) -> str:
    """The API server's own sentence."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return error.reason or ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
