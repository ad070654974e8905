import { waitFor } from '../run.ts';

/** Something that runs kubectl and gives its standard output. */
type Kubectl = { kubectl(args: readonly string[]): Promise<string> };

const READY = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';

/** Waits until the named nodes are Ready. */
export async function waitForReady(
  cluster: Kubectl,
  names: readonly string[],
  timeoutMs: number,
): Promise<void> {
  await waitFor(
    `the nodes ${names.join(', ')} to be Ready`,
    timeoutMs,
    async () => {
      const seen = (await cluster.kubectl(['get', 'nodes', '-o', `jsonpath=${READY}`])).split('\n');
      return names.every((name) => seen.includes(`${name}=True`)) ? true : undefined;
    },
    200,
  );
}

/** Waits for the default service account. */
export async function waitForServiceAccount(cluster: Kubectl): Promise<void> {
  await waitFor('the default service account, without which no pod is admitted', 30_000, async () => {
    await cluster.kubectl(['get', 'serviceaccount', 'default']);
    return true;
  });
}
