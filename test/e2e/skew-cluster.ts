import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { READY_PATH, watchNodes } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { waitForRollout } from './agents.ts';

/** An object of a manifest, as far as it is read or changed here. */
type KubeObject = {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  spec: {
    updateStrategy: object;
    minReadySeconds: number;
    template: { spec: { containers: [{ image: string }] } };
  };
};

/** The objects of the base of a folder of manifests, with components of the same folder. */
export async function render(
  cluster: Cluster,
  manifests: string,
  components: readonly string[] = [],
): Promise<readonly KubeObject[]> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'skew-')));
  const from = (path: string) => relative(folder, join(manifests, path));
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [from('base')],
    components: components.map((name) => from(`components/${name}`)),
  };
  try {
    await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization));
    const text = await cluster.kubectl(['kustomize', folder]);
    return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Applies objects, in their order. */
export function apply(cluster: Cluster, items: readonly object[]): Promise<string> {
  return cluster.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
}

/** Everything but the agents. */
export function withoutAgents(objects: readonly KubeObject[]): readonly KubeObject[] {
  return objects.filter(({ kind }) => kind !== 'DaemonSet');
}

/** How agents are replaced: all at once, or each only when its pod is deleted. */
const STRATEGIES = {
  'at once': { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '100%' } },
  'one by one': { type: 'OnDelete' },
} as const;

/** The same objects with the agents of another image, and another way to replace them. */
export function withAgents(
  objects: readonly KubeObject[],
  image: string,
  strategy: keyof typeof STRATEGIES,
): readonly KubeObject[] {
  return structuredClone(objects).map((object) => {
    if (object.kind !== 'DaemonSet') return object;
    object.spec.updateStrategy = STRATEGIES[strategy];
    object.spec.minReadySeconds = 0;
    object.spec.template.spec.containers[0].image = image;
    return object;
  });
}

/** Applies a release's objects with agents of an image, and waits until all are replaced and Ready. */
export async function rollOut(
  cluster: Cluster,
  objects: readonly KubeObject[],
  image: string,
): Promise<void> {
  await apply(cluster, withAgents(objects, image, 'at once'));
  await waitForRollout(cluster);
}

/** Writes down what the label of each node is, change by change, until it is closed. */
export class LabelHistory {
  readonly #seen: { readonly node: string; readonly label: string }[] = [];
  readonly #last = new Map<string, string>();
  readonly #watch: ReturnType<typeof watchNodes>;
  #ended = false;

  constructor(cluster: Cluster) {
    this.#watch = watchNodes(cluster, [], ['.metadata.name', READY_PATH], ([node = '', label = '']) => {
      this.#seen.push({ node, label });
      this.#last.set(node, label);
    });
    void this.#watch.ended.then(() => {
      this.#ended = true;
    });
  }

  /** Waits until the watch has told of this label. */
  async hears(node: string, label: string): Promise<void> {
    await waitFor(`the watch to tell of ${node}: ${label}`, 30_000, async () =>
      this.#last.get(node) === label ? true : undefined,
    );
  }

  /** What the labels were since the last call, without repetitions; throws where the watch has ended. */
  take(): Readonly<Record<string, readonly string[]>> {
    if (this.#ended) throw new Error('The watch of the nodes has ended');
    const history: Record<string, string[]> = {};
    for (const { node, label } of this.#seen.splice(0)) {
      const before = history[node] ?? [];
      history[node] = before.at(-1) === label ? before : [...before, label];
    }
    return history;
  }

  close(): void {
    this.#watch.close();
  }
}
