"""Starts evaluation pods in gVisor, or reports why not, from the shell."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from . import __version__
from .dispatcher import Dispatcher
from .errors import ClusterError, DispatchError, PodError, PolicyError, RetryLaterError
from .explanation import NOT_SEEN_YET, SEEN_SECONDS
from .pods import REASON_ANNOTATION, Json, annotation, as_json, decided_outside, template_of
from .settings import Policy, Settings

EXIT_CODES = """exit codes: 0 in gVisor (run: the pod started, or the Job was created, see "in_gvisor") - 5 outside
gVisor (ask: a fallback is allowed) - 3 the policy forbids it, or the cluster must be changed - 65 the pod must be
changed - 75 try again later - 4 a pod could not be removed - 2 wrong usage - 130 interrupted: the pod was removed
unless it has started - 1 another program's pod has the name, cancel: the pod has started, or no kubeconfig"""
TIMES = ("install_grace", "schedule_deadline", "wait_deadline", "start_deadline", "remove_deadline", "api_deadline")


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(sys.argv[1:] if argv is None else argv)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    settings = Settings(
        runtime_class=options.runtime_class,
        handler=options.handler,
        **{name: getattr(options, name) for name in TIMES},
    )
    try:
        load: Any = config
        named = options.kubeconfig or options.context or "KUBECONFIG" in os.environ
        if "KUBERNETES_SERVICE_HOST" in os.environ and not named:
            load.load_incluster_config()
        else:
            load.load_kube_config(config_file=options.kubeconfig, context=options.context)
        with Dispatcher(client.ApiClient(), settings) as dispatcher:
            return COMMANDS[options.command](dispatcher, options)
    except DispatchError as error:
        print(json.dumps({"reason": error.reason, "message": error.message}))
        return exit_code(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (OSError, config.ConfigException) as error:
        print(f"gvisor-dispatch: {error}", file=sys.stderr)
        return 1


def ask(dispatcher: Dispatcher, options: argparse.Namespace) -> int:
    made, policy = None if options.file is None else as_json(options.file), Policy(options.policy)
    namespace = ((made or {}).get("metadata") or {}).get("namespace") or options.namespace
    decision = dispatcher.decide(made, policy, namespace, options.nodes)
    said = {key: value for key, value in asdict(decision).items() if key != "made_at"}
    print(json.dumps({**said, "policy": decision.policy.value}))
    return 0 if decision.in_gvisor else 5


def run(dispatcher: Dispatcher, options: argparse.Namespace) -> int:
    policy = Policy(options.policy)
    if options.file.get("kind") == "Job":
        print(json.dumps(created(dispatcher.create(options.file, policy, options.id))))
    else:
        print(json.dumps(asdict(dispatcher.dispatch(options.file, policy, options.id))))
    return 0


def created(job: Json) -> Json:
    """What was decided of a Job: no pod of it is awaited."""
    meta, template = job["metadata"], template_of(job)
    decided = {"in_gvisor": not decided_outside(job), "reason": annotation(template, REASON_ANNOTATION)}
    return {"namespace": meta["namespace"], "name": meta["name"], **decided}


def cancel(dispatcher: Dispatcher, options: argparse.Namespace) -> int:
    left = dispatcher.cancel(options.file, options.id)
    print(json.dumps(asdict(left) if left else {"removed": True}))
    return 1 if left else 0


def explain(dispatcher: Dispatcher, options: argparse.Namespace) -> int:
    kind, _, name = options.pod.rpartition("/")
    meta = {"name": name, "namespace": options.namespace}
    asked = {"kind": "Job" if kind == "job" else "Pod", "metadata": meta}
    end = time.monotonic() + SEEN_SECONDS + 5
    # Only that ends by itself, soon.
    while (found := dispatcher.explain(asked)).reason == NOT_SEEN_YET and time.monotonic() < end:
        time.sleep(1)
    print(json.dumps(asdict(found)))
    return {True: 0, False: 5, None: os.EX_TEMPFAIL}[found.in_gvisor]


COMMANDS: dict[str, Callable[[Dispatcher, argparse.Namespace], int]] = {
    "ask": ask,
    "run": run,
    "cancel": cancel,
    "explain": explain,
}


def exit_code(error: DispatchError) -> int:
    if isinstance(error, PolicyError | ClusterError):
        return 3
    if isinstance(error, RetryLaterError):
        return 4 if error.reason == "PodNotGone" else os.EX_TEMPFAIL
    return os.EX_DATAERR if isinstance(error, PodError) else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """argparse exits with code 2 on wrong usage."""
    default = Settings()
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kubeconfig", type=existing, metavar="FILE", help="instead of $KUBECONFIG or ~/.kube/config")
    common.add_argument("--context", metavar="NAME", help="of the kubeconfig, instead of its current one")
    common.add_argument("-v", "--verbose", action="store_true", help="log decisions and retries to standard error")
    common.add_argument("--runtime-class", default=default.runtime_class)
    common.add_argument(
        "--handler", default=default.handler, help="the main handler, the first in the agents' HANDLERS"
    )
    for name in TIMES:
        common.add_argument(
            f"--{name.replace('_', '-')}", type=seconds, default=getattr(default, name), metavar="SECONDS"
        )
    deciding = argparse.ArgumentParser(add_help=False, parents=[common])
    deciding.add_argument("--policy", required=True, choices=[policy.value for policy in Policy])
    parser = argparse.ArgumentParser(prog="gvisor-dispatch", description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", parents=[deciding], help="where a pod may run now; creates nothing")
    ask.add_argument(
        "file", nargs="?", type=manifest, help="a Pod or a Job in YAML or JSON, - for standard input; without: any pod"
    )
    ask.add_argument("-n", "--namespace", default="default", help="namespace of the pod, if the file has none")
    ask.add_argument("--nodes", type=int, default=10, help="how many nodes to name at most")
    run = commands.add_parser("run", parents=[deciding], help="start a pod, or create a Job, or adopt an earlier run's")
    cancel = commands.add_parser("cancel", parents=[common], help="remove what a run made, unless it has started")
    for one in (run, cancel):
        one.add_argument("file", type=manifest, help="a Pod or a Job in YAML or JSON, - for standard input")
        one.add_argument(
            "--id", default="", help="the evaluation's id; without one, the same file is the same evaluation"
        )
    explain = commands.add_parser("explain", parents=[common], help="why a pod runs in gVisor, or does not")
    explain.add_argument("pod", metavar="POD", help="the pod's name, or job/NAME for the pods of a Job")
    explain.add_argument("-n", "--namespace", default="default")
    return parser.parse_args(argv)


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def existing(file: str) -> str:
    if not Path(file).exists():
        raise argparse.ArgumentTypeError(f"there is no file {file}")
    return file


def manifest(file: str) -> Json:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {file}: {error}") from error
    if len(found) != 1 or not isinstance(found[0], dict):
        has = len(found) if len(found) != 1 else json.dumps(found[0], default=str)[:60]
        raise argparse.ArgumentTypeError(f"{file} must contain one object, a Pod or a Job, and has {has}")
    only: Json = found[0]
    return only
