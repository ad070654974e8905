import type { Reason } from '../lib/base/reasons.ts';
import type { Finding } from '../lib/checks/finding.ts';

/** Undefined if it is unknown. */
export type Expectation = {
  readonly always: boolean;
  readonly provenOnce: boolean | undefined;
  readonly traces: boolean | undefined;
};

/** Undefined if that is unknown. */
export function expectsGvisor({ always, provenOnce, traces }: Expectation): boolean | undefined {
  if (always || provenOnce || traces) return true;
  return provenOnce === false && traces === false ? false : undefined;
}

/** Reasons of the checks `shim` and `runsc` if nothing is installed. */
const ABSENT: readonly Reason[] = ['ShimNotFound', 'RunscNotFound'];

/** The handler, the shim, or runsc. Undefined if that is unknown, for example because containerd does not answer. */
export function hasTraces(findings: readonly Finding[]): boolean | undefined {
  const programs = findings.filter(({ check }) => check === 'shim' || check === 'runsc');
  return programs.some(isThere) || isRegistered(findings);
}

/** Known to containerd's configuration or to the running containerd; undefined if that is unknown. */
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
