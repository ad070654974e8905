import type { Setting } from '../base/settings.ts';

/** The agent's settings. Durations are a number with ms, s, m or h. */
export const SETTINGS = {
  NODE_NAME: { fallback: "the host's name", meaning: 'Name of the Node object that this agent reports on.' },
  POD_UID: {
    fallback: 'none',
    meaning:
      "UID of the agent's own pod, from the downward API: it identifies the containerd that the kubelet uses. Required in a cluster.",
  },
  HOST_ROOT: {
    fallback: '/',
    meaning: "Mount point of the host's root file system; `/host` in the DaemonSet.",
  },
  CRI_SOCKET: { fallback: 'by distribution', meaning: "containerd's socket, as a host path." },
  CONTAINERD_CONFIG: {
    fallback: 'by distribution',
    meaning: "containerd's configuration file, as a host path.",
  },
  HANDLERS: {
    fallback: 'runsc',
    meaning:
      'The CRI runtime handlers to prove, separated by commas. The first is the main one; each additional one has a label of its own.',
  },
  PROOF_INTERVAL: {
    fallback: '10m',
    meaning: 'Interval between proofs when nothing changes, ±10 %.',
    bounds: [10_000, 86_400_000],
  },
  CONFIRM_DELAY: {
    fallback: '500ms',
    meaning: 'Minimum time between a failure and the evaluation that confirms it.',
    bounds: [0, 60_000],
  },
  UNKNOWN_GRACE: {
    fallback: '60s',
    meaning: 'How long a node keeps its label while it cannot be judged.',
    bounds: [0, 3_600_000],
  },
  MIN_RUNSC_RELEASE: {
    fallback: 'no floor',
    meaning: 'Minimum gVisor release, such as `20240325.0`.',
  },
  REQUIRE_LIMITS: {
    fallback: 'off',
    meaning:
      "`on` makes a node not ready if sandboxes are outside the kubelet's cgroups, so that limits are not enforced.",
  },
  FORBID_FLAG_OVERRIDE: {
    fallback: 'off',
    meaning:
      '`on` makes a node not ready if the `pod_annotations` of the handler let pods set runsc flags that weaken their sandbox.',
  },
  EXPECT_GVISOR: {
    fallback: 'off',
    meaning:
      '`on` makes alerts expect gVisor on every node with an agent; `off` only on nodes where it was proven before or is partly installed.',
  },
  LISTEN_ADDRESS: { fallback: ':9477', meaning: 'Address and port of the HTTP server; `off` disables it.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  PUBLISH: {
    fallback: '`node,events` in a cluster, nothing on one host',
    meaning: 'Where verdicts are published besides HTTP: `node`, `node,events`, or empty.',
  },
  TAINT: {
    fallback: 'off',
    meaning: '`on` keeps the taint `not-ready` (NoSchedule) on nodes that are not proven.',
  },
} as const satisfies Record<string, Setting>;
