import type { ClusterNode } from '../../cluster/node/node.ts';

/** One try of a tenant to shape what the agent says of the node, or to run code outside of its pod. */
export type Try = {
  readonly what: string;
  /** What the agent of 25 November 2026 did in this case; "held" where it withstood. */
  readonly before: string;
  /** Pods of the tenant: what differs from a plain pod whose container runs a script of sh as root. */
  readonly pods: readonly TryPod[];
  /** Rejects as long as the try has not taken hold; where it never does, nothing was tried. */
  readonly took?: (seen: Seen) => Promise<void>;
};

/** What of a try can be seen from outside. */
export type Seen = {
  /** The node that it runs on, as its root sees it. */
  readonly node: ClusterNode;
  /** The ids of the tenant's containers, */
  readonly ids: readonly string[];
  /** and what these and the execs into them have printed. */
  readonly said: string;
};

/**
 * A pod of a try, with the agent's address as $AGENT. `script` runs in sh and goes on for ever; without it the container
 * keeps its image's command.
 */
export type TryPod = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly container?: object;
  readonly gvisor?: boolean;
  readonly script?: string;
  /** Its container is meant to end, and to be started again. */
  readonly ends?: boolean;
  /** What the tenant runs by `kubectl exec` once the container runs, in sh, with the container's id as $1; it ends. */
  readonly exec?: string;
  /** What that reads from its standard input. */
  readonly input?: () => Promise<string>;
};

export const FOREVER = 'while :; do sleep 1000; done';

/** The capabilities that "baseline" leaves a container, for tries that need one of them. */
export const ALL_THAT_BASELINE_ALLOWS = { securityContext: {} };

/** Runs a copy of the shell under another name, with these arguments behind it, and stays. */
export const as = (name: string, args = '') =>
  `mkdir -p /tmp/x; cp /bin/sh "/tmp/x/${name}"; cd /tmp/x; PATH=.:$PATH; "${name}" -c '${FOREVER}' ${args}`;

/** A pod that does nothing but this. */
export const script = (text: string): TryPod => ({ script: text });

/** Goes on beside the `kubectl exec` that began it, and after its end. */
export const behind = (text: string) => `( ${text} ) </dev/null >/dev/null 2>&1 &`;
