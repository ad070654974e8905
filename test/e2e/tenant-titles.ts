import type { Status } from '../../agent/agent.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { waitFor } from '../../hack/run.ts';
import { getFromAgentForwarded } from './agents.ts';
import { type AttackPod, BASELINE_CAPABILITIES, FOREVER } from './tenant-attacks.ts';
import { manifestOf, TENANT_NODE, type Tenant } from './tenant-pods.ts';

/**
 * Overwrites the argv of the pod's first process with a title, a format of printf. Root of a container may write to that
 * memory if both share the pod's PID namespace and have the same capabilities. A long title extends into the environment.
 * Source: https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c (get_mm_cmdline), proc_pid_stat(5) (arg_start)
 */
const retitle = (title: string) => `
set -- $(cat /proc/1/stat)
shift 47
printf '${title}\\0' | dd of=/proc/1/mem bs=1 seek=$1 conv=notrunc 2>/dev/null || exit 1
${FOREVER}`;

/** The agent inspects a sandbox once, perhaps before its title changes, so several pods may be needed. */
const MAX_ATTEMPTS = 20;

/** A pod outside gVisor whose first process has this title. */
const titled = (name: string, title: string): AttackPod => ({
  name,
  // The same user for the container and the first process, regardless of the image of the latter.
  spec: { shareProcessNamespace: true, securityContext: { runAsUser: 0 } },
  container: BASELINE_CAPABILITIES,
  script: retitle(title),
});

type Violation = NonNullable<Status['pods']>['violating'][number];

/** The tenant's pods in a report that violate the requirement. */
export function violationsIn(report: string, { namespace }: Tenant): readonly Violation[] {
  const { pods } = JSON.parse(report) as Status;
  return (pods?.violating ?? []).filter((pod) => pod.namespace === namespace);
}

/** Creates pods with this title until the agent reports one with matching evidence. */
export async function waitForViolation(
  cluster: Cluster,
  tenant: Tenant,
  { name, title, evidence }: { readonly name: string; readonly title: string; readonly evidence: RegExp },
): Promise<Violation> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const names = [`${name}-${attempt}-a`, `${name}-${attempt}-b`];
    await tenant.create(names.map((each) => manifestOf(titled(each, title), '', attempt)));
    const violations = await waitFor('the agent to report the pods', 60_000, async () => {
      const { text } = await getFromAgentForwarded(cluster, TENANT_NODE, '/report');
      const all = violationsIn(text, tenant).filter((pod) => names.includes(pod.name));
      return all.length === names.length ? all : undefined;
    });
    const found = violations.find((pod) => evidence.test(pod.evidence));
    if (found !== undefined) return found;
    await tenant.remove(attempt);
  }
  throw new Error('The agent has read no title of a tenant');
}
