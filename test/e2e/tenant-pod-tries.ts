import { PROBE_LABELS } from '../../agent/proof/sandbox.ts';
import { imageName } from '../../cluster/images.ts';
import { FOREVER, type Try } from './tenant-try.ts';

/** The tries by what a pod is called and what it carries. */
export const POD_TRIES: readonly Try[] = [
  {
    what: "six containers named like the agent's, of an image without cat",
    before: 'three of five looks were ProbeImageUnusable',
    pods: Array.from({ length: 6 }, (_, index) => ({
      name: `unusable-${index}`,
      container: { name: 'gvisor-ready-agent', image: imageName('pause') },
    })),
  },
  {
    what: 'the labels of a probe',
    before: 'held',
    pods: [
      {
        labels: PROBE_LABELS,
        script: FOREVER,
      },
    ],
  },
  {
    what: 'the labels of a probe on twelve pods of whose annotations containerd keeps 1.5 MiB each',
    before: 'nothing was proven any more, and a minute later the label was withdrawn',
    pods: Array.from({ length: 12 }, (_, index) => ({
      name: `large-${index}`,
      labels: PROBE_LABELS,
      // containerd writes each of these as six bytes.
      annotations: { large: '<'.repeat(260_000) },
      script: FOREVER,
    })),
  },
  {
    what: 'the labels of an agent',
    before: 'held',
    pods: [
      {
        labels: { 'app.kubernetes.io/name': 'gvisor-ready', 'app.kubernetes.io/component': 'agent' },
        script: FOREVER,
      },
    ],
  },
  { what: 'the name of a probe', before: 'held', pods: [{ name: 'gvisor-probe-12345678', script: FOREVER }] },
  {
    what: 'annotations that turn flags of runsc',
    before: 'held',
    pods: [
      {
        gvisor: true,
        annotations: { 'dev.gvisor.flag.network': 'host', 'dev.gvisor.flag.debug': 'true' },
        script: FOREVER,
      },
    ],
  },
  {
    what: 'an annotation that names another cgroup for the sandbox',
    before: 'nobody looked',
    pods: [{ gvisor: true, annotations: { 'dev.gvisor.spec.cgroup-parent': '/' }, script: FOREVER }],
  },
  {
    what: "annotations of containerd's own on a pod",
    before: 'held',
    pods: [
      {
        annotations: {
          'io.kubernetes.cri.sandbox-id': 'probe',
          'io.kubernetes.cri.container-type': 'sandbox',
          'gvisor.node-restriction.kubernetes.io/ready': 'false',
        },
        script: FOREVER,
      },
    ],
  },
  {
    what: 'gVisor pods that end at once, again and again',
    before: 'held',
    pods: Array.from({ length: 4 }, (_, index) => ({
      name: `brief-${index}`,
      gvisor: true,
      ends: true,
      script: 'sleep 0.2; exit 1',
    })),
  },
];
