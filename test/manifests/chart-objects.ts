import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CHART, copyManifests } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { inNamespace, overlay } from '../e2e/agents.ts';

/** The tool group of the Helm that renders the chart: `test/nightly/other-tiers.test.ts` sets helm-3. */
export const HELM = process.env.CHART_HELM === 'helm-3' ? 'helm-3' : 'helm';

/** An object as Helm or kustomize renders it. */
export type Rendered = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
};

/** Helm assumes Kubernetes 1.20 unless built by its Makefile. */
const KUBE_VERSION = ['--kube-version', '1.36.3'];

/** Runs Helm in the repository with the values on standard input. */
export async function helm(args: readonly string[], values: object = {}): Promise<string> {
  const tools = await ensureTools([HELM]);
  await copyManifests();
  return run(join(tools[HELM], 'helm'), args, { cwd: REPO, input: JSON.stringify(values) });
}

/** Output of `helm template` with these values. */
export function templateChart(
  values: object,
  chart = CHART,
  { release, namespace } = { release: 'gvisor-ready', namespace: 'gvisor-ready' },
): Promise<string> {
  const args = ['template', release, chart, '--namespace', namespace, ...KUBE_VERSION, '--values', '-'];
  return helm(args, values);
}

export async function renderChart(...args: Parameters<typeof templateChart>): Promise<readonly Rendered[]> {
  return objectsIn(await templateChart(...args));
}

/** Runs `helm lint --strict`; rejects when it finds something. */
export function lintChart(values: object): Promise<string> {
  const args = ['lint', '--strict', CHART, '--namespace', 'gvisor-ready', ...KUBE_VERSION, '--values', '-'];
  return helm(args, values);
}

/** Output of kustomize for the base with components, in a namespace. */
export async function kustomizeComponents(
  components: readonly string[],
  namespace?: string,
): Promise<string> {
  const directory = await overlay(components, [], namespace === undefined ? {} : inNamespace(namespace));
  try {
    return await kustomize(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

export async function renderComponents(
  ...args: Parameters<typeof kustomizeComponents>
): Promise<readonly Rendered[]> {
  return objectsIn(await kustomizeComponents(...args));
}

/** The objects of a kustomization. */
export async function renderKustomization(directory: string): Promise<readonly Rendered[]> {
  return objectsIn(await kustomize(directory));
}

async function kustomize(directory: string): Promise<string> {
  const { kubernetes } = await ensureTools(['kubernetes']);
  return run(join(kubernetes, 'kubectl'), ['kustomize', directory]);
}

function objectsIn(text: string): readonly Rendered[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(`Not YAML: ${document.errors[0]?.message}`);
    return (document.toJS() as Rendered | null) ?? [];
  });
}

/** The hook of an object, such as post-delete or test; "" if it has none. */
export function hookOf({ metadata }: Rendered): string {
  return metadata.annotations?.['helm.sh/hook'] ?? '';
}

/** An object without the labels and annotations of Helm. */
function withoutHelm({ metadata, ...rest }: Rendered): object {
  const without = (of: Readonly<Record<string, string>> = {}) =>
    Object.fromEntries(
      Object.entries(of).filter(
        ([key]) => !key.startsWith('helm.sh/') && key !== 'app.kubernetes.io/managed-by',
      ),
    );
  const { labels, annotations, ...names } = metadata;
  return { ...rest, metadata: { ...names, labels: without(labels), annotations: without(annotations) } };
}

/** Objects that differ or are missing, as "KIND NAMESPACE/NAME: problem". */
export function differences(ours: readonly Rendered[], theirs: readonly Rendered[]): readonly string[] {
  const [first, second] = [byName(ours), byName(theirs)];
  return [...new Set([...first.keys(), ...second.keys()])].sort().flatMap((name) => {
    const [one, other] = [first.get(name), second.get(name)];
    if (one === undefined) return `${name}: missing in the first`;
    if (other === undefined) return `${name}: missing in the second`;
    return isDeepStrictEqual(withoutHelm(one), withoutHelm(other)) ? [] : `${name}: differs`;
  });
}

function byName(objects: readonly Rendered[]): Map<string, Rendered> {
  const named = objects.map((object) => {
    const { kind, metadata } = object;
    return [`${kind} ${metadata.namespace ?? ''}/${metadata.name}`, object] as const;
  });
  const found = new Map(named);
  if (found.size !== objects.length) throw new Error('Two objects have the same name');
  return found;
}
