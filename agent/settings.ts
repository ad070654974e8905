/** One setting: its default (as written in the environment) and what it means, for docs/reference.md and --help. */
export type Setting = {
  readonly fallback: string;
  readonly meaning: string;
  readonly bounds?: readonly [number, number];
};

/** Every setting, read from the environment. Durations are a number with ms, s, m or h. */
export const SETTINGS = {
  NODE_NAME: { fallback: "the host's name", meaning: 'Name of the Node object that this agent speaks for.' },
  POD_UID: {
    fallback: 'none',
    meaning:
      "UID of the agent's own pod, from the downward API: only a containerd that runs this pod is the kubelet's. Required in a cluster.",
  },
  HOST_ROOT: {
    fallback: '/',
    meaning: "Where the host's root file system is visible; `/host` in the DaemonSet.",
  },
  CRI_SOCKET: { fallback: 'by distribution', meaning: "containerd's socket, as a path of the host." },
  CONTAINERD_CONFIG: {
    fallback: 'by distribution',
    meaning: "containerd's configuration, as a path of the host.",
  },
  HANDLER: { fallback: 'runsc', meaning: 'The CRI runtime handler to prove.' },
  PROOF_INTERVAL: {
    fallback: '10m',
    meaning: 'Time between proofs when nothing changes, ±10 %.',
    bounds: [10_000, 86_400_000],
  },
  CONFIRM_DELAY: {
    fallback: '500ms',
    meaning: 'Time between a failure and the look that confirms it.',
    bounds: [0, 60_000],
  },
  UNKNOWN_GRACE: {
    fallback: '60s',
    meaning: 'How long a node that cannot be judged keeps its label.',
    bounds: [0, 3_600_000],
  },
  MIN_RUNSC_RELEASE: {
    fallback: 'no floor',
    meaning: 'Oldest gVisor release allowed, such as `20240325.0`.',
  },
  REQUIRE_LIMITS: {
    fallback: 'off',
    meaning:
      "`on` makes a node not ready where sandboxes are outside the kubelet's cgroups, so that limits are not enforced.",
  },
  FORBID_FLAG_OVERRIDE: {
    fallback: 'off',
    meaning:
      '`on` makes a node not ready where `pod_annotations` of the handler lets pods set flags of runsc that weaken their sandbox.',
  },
  EXPECT_GVISOR: {
    fallback: 'off',
    meaning:
      '`on` makes alerts expect gVisor on every node with an agent; `off` only where it was once proven, or where a part of it is installed.',
  },
  LISTEN_ADDRESS: { fallback: ':9477', meaning: 'Address and port of the HTTP server; `off` for none.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  PUBLISH: {
    fallback: '`node,events` in a cluster, nothing on one host',
    meaning: 'Where verdicts go besides HTTP: `node`, `node,events`, or empty for nowhere.',
  },
  TAINT: {
    fallback: 'off',
    meaning: '`on` keeps the taint `not-ready` (NoSchedule) on nodes that are not proven.',
  },
} as const satisfies Record<string, Setting>;
