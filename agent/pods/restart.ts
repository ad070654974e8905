import type { Finding } from '../../lib/checks/finding.ts';
import type { SandboxesReport } from '../../lib/sandboxes/problem.ts';

/** Why a restart of containerd would end what works now: it reads its configuration only when it starts. */
export function lossAtRestart(findings: readonly Finding[]): string | undefined {
  const of = (id: string) => findings.find(({ check }) => check === id);
  const configured = of('handler-configured');
  const isLost = of('handler-loaded')?.status === 'pass' && configured?.status === 'fail';
  return isLost ? configured.message : undefined;
}

/** The sandboxes of a node, with what its findings, one list a handler, say of a restart. */
export function withConfiguration(
  sandboxes: SandboxesReport | undefined,
  findings: readonly (readonly Finding[])[],
): SandboxesReport | undefined {
  const losses = new Set(findings.flatMap((each) => lossAtRestart(each) ?? []));
  if (sandboxes === undefined || losses.size === 0) return sandboxes;
  const { state, because } = sandboxes.restart;
  const others = state === 'unsafe' ? because : [];
  return { ...sandboxes, restart: { state: 'unsafe', because: [...losses, ...others] } };
}
