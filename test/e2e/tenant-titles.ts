import type { Status } from '../../agent/agent.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { waitFor } from '../../hack/run.ts';
import { getFromAgentForwarded } from './agents.ts';
import { ALL_THAT_BASELINE_ALLOWS, type AttackPod, FOREVER } from './tenant-attacks.ts';
import { manifestOf, TENANT_NODE, type Tenant } from './tenant-pods.ts';

/**
 * Writes a title, as printf takes it, over the arguments of the first process of the pod. Root of a container may write
 * into its memory where both share the pod's PID namespace and have the same capabilities. One that is longer than the
 * arguments goes on where the environment was, up to its first NUL.
 * Source: https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c (get_mm_cmdline), proc_pid_stat(5) (arg_start)
 */
const retitle = (title: string) => `
set -- $(cat /proc/1/stat)
shift 47
printf '${title}\\0' | dd of=/proc/1/mem bs=1 seek=$1 conv=notrunc 2>/dev/null || exit 1
${FOREVER}`;

/** How often new pods are made: the agent looks at a sandbox once, and may do so before its title is changed. */
const MAX_ATTEMPTS = 20;

/** A pod outside of gVisor, in a namespace that requires it, whose first process has this title. */
const titled = (name: string, title: string): AttackPod => ({
  name,
  // The user of the container is then that of the first process too, whatever the image of that says.
  spec: { shareProcessNamespace: true, securityContext: { runAsUser: 0 } },
  container: ALL_THAT_BASELINE_ALLOWS,
  script: retitle(title),
});

type Violation = NonNullable<Status['pods']>['violating'][number];

/** What a report tells of the pods of the tenant that must run in gVisor and do not. */
export function violationsIn(report: string, { namespace }: Tenant): readonly Violation[] {
  const { pods } = JSON.parse(report) as Status;
  return (pods?.violating ?? []).filter((pod) => pod.namespace === namespace);
}

/** Makes pods with this title until the agent has read it, and gives what it then tells of that pod. */
export async function waitForViolation(
  cluster: Cluster,
  tenant: Tenant,
  { name, written, seen }: { readonly name: string; readonly written: string; readonly seen: RegExp },
): Promise<Violation> {
  for (let round = 0; round < MAX_ATTEMPTS; round++) {
    const names = [`${name}-${round}-a`, `${name}-${round}-b`];
    await tenant.create(names.map((each) => manifestOf(titled(each, written), '', round)));
    const told = await waitFor('the agent to tell of the pods', 60_000, async () => {
      const { text } = await getFromAgentForwarded(cluster, TENANT_NODE, '/report');
      const all = violationsIn(text, tenant).filter((pod) => names.includes(pod.name));
      return all.length === names.length ? all : undefined;
    });
    const found = told.find(({ evidence }) => seen.test(evidence));
    if (found !== undefined) return found;
    await tenant.remove(round);
  }
  throw new Error('The agent has read no title that a tenant wrote');
}
