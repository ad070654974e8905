"""A platform that creates its pods itself, with the official client: python plain_client.py pod.yaml"""

import sys
from pathlib import Path

import yaml
from gvisor_dispatch import Dispatcher, Policy
from kubernetes import client, config

config.load_config()
api = client.ApiClient()
pod = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
namespace = pod["metadata"]["namespace"]

with Dispatcher(api) as dispatcher:
    decision = dispatcher.decide(pod, Policy.PREFER, namespace)
    created = client.CoreV1Api(api).create_namespaced_pod(namespace, decision.applied(pod))
    dispatcher.record(created, decision)
    print(created.metadata.name, decision.in_gvisor, decision.reason)
