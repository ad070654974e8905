import { waitFor } from '../hack/run.ts';

/** Something that gives the text behind a path of the API server. */
type Reader = { get(path: string): Promise<string> };

type NodeList = {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
};

/** Waits until the named nodes are Ready. */
export async function waitForReady(
  cluster: Reader,
  names: readonly string[],
  timeoutMs: number,
): Promise<void> {
  await waitFor(`the nodes ${names.join(', ')} to be Ready`, timeoutMs, async () => {
    const { items } = JSON.parse(await cluster.get('/api/v1/nodes')) as NodeList;
    const ready = items.filter(({ status }) =>
      status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
    );
    const seen = ready.map(({ metadata }) => metadata.name);
    return names.every((name) => seen.includes(name)) ? true : undefined;
  });
}
