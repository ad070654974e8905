import type { Finding } from '../finding.ts';

/** What these checks say where they find nothing at all. */
const ABSENT = ['ShimNotFound', 'RunscNotFound'];

/**
 * Whether anything of gVisor is on a node: its handler in containerd's configuration or in the running containerd, the
 * shim, or runsc. Undefined where that could not be told, such as when containerd does not answer.
 */
export function hasTraces(findings: readonly Finding[]): boolean | undefined {
  const of = (check: string) => findings.find((finding) => finding.check === check);
  const there = [of('shim'), of('runsc')].some((finding) => isThere(finding));
  const [configured, loaded] = [of('handler-configured'), of('handler-loaded')];
  if (there || configured?.status === 'pass' || loaded?.status === 'pass') return true;
  if (configured?.status !== 'fail' || loaded?.status !== 'fail') return undefined;
  return configured.reason !== 'HandlerNotConfigured' || loaded.reason !== 'HandlerNotLoaded';
}

function isThere(finding: Finding | undefined): boolean {
  if (finding?.status === 'fail') return !ABSENT.includes(finding.reason);
  return finding?.status === 'pass';
}
