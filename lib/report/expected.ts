import type { Finding } from '../node/checks/finding.ts';
import type { Reason } from '../node/reasons.ts';

/** What decides whether a node should run gVisor; undefined where it is unknown. */
export type Expectation = {
  readonly always: boolean;
  /** Whether gVisor was ever proven on the node. */
  readonly provenOnce: boolean | undefined;
  readonly traces: boolean | undefined;
};

/** Whether a node should run gVisor; undefined where that is unknown. */
export function expectsGvisor({ always, provenOnce, traces }: Expectation): boolean | undefined {
  if (always || provenOnce || traces) return true;
  return provenOnce === false && traces === false ? false : undefined;
}

/** Reasons of the checks `shim` and `runsc` where nothing is installed. */
const ABSENT: readonly Reason[] = ['ShimNotFound', 'RunscNotFound'];

/**
 * Whether any part of gVisor is on the node: the handler, the shim, or runsc. Undefined where that is unknown, for example
 * because containerd does not answer.
 */
export function hasTraces(findings: readonly Finding[]): boolean | undefined {
  const programs = findings.filter(({ check }) => check === 'shim' || check === 'runsc');
  return programs.some(isThere) || isRegistered(findings);
}

/** Whether the handler is in containerd's configuration or in the running containerd; undefined where that is unknown. */
export function isRegistered(findings: readonly Finding[]): boolean | undefined {
  const of = (check: string) => findings.find((finding) => finding.check === check);
  const [configured, loaded] = [of('handler-configured'), of('handler-loaded')];
  if (configured?.status === 'pass' || loaded?.status === 'pass') return true;
  if (configured?.status !== 'fail' || loaded?.status !== 'fail') return undefined;
  return configured.reason !== 'HandlerNotConfigured' || loaded.reason !== 'HandlerNotLoaded';
}

function isThere(finding: Finding): boolean {
  if (finding.status === 'fail') return !ABSENT.includes(finding.reason);
  return finding.status === 'pass';
}
