import type { V1Pod } from '@kubernetes/client-node';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import { KubeError } from '../../lib/kube/error.ts';
import type { Api, ApiObject } from '../api.ts';
import { type CheckLine, countOf, inSection } from '../output.ts';

const line = inSection('Admission');
const CONCURRENCY = 16;

/** Sound by Pod Security "restricted", so that only the requirement can refuse it. */
const CONTAINER = {
  name: 'check',
  image: 'localhost/none',
  resources: { limits: { cpu: '1m', memory: '1Mi' } },
  securityContext: {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    runAsNonRoot: true,
    seccompProfile: { type: 'RuntimeDefault' },
  },
} as const;

type Settings = {
  /** Classes that pods may name. */
  readonly classes: readonly string[];
  readonly allow: readonly string[];
};
type Result = 'refused' | 'accepted' | { readonly unknown: string };

/** What the policies let through, whatever they look like: dry runs of pods that must be refused, as the user who asks. */
export async function tryPods(
  api: Api,
  namespaces: readonly string[],
  { classes, allow }: Settings,
): Promise<readonly CheckLine[]> {
  const spec = { containers: [CONTAINER] };
  const volumes = [{ name: 'host', hostPath: { path: '/' } }];
  const tries = [
    ['without a RuntimeClass', spec],
    ...(allow.includes('hostPath')
      ? []
      : [['with a hostPath', { ...spec, runtimeClassName: classes[0], volumes }] as const]),
  ] as const;
  const found = await pooledMap(namespaces, CONCURRENCY, async (namespace) => {
    const results = await Promise.all(
      tries.map(async ([what, each]) => ({ namespace, what, result: await tryPod(api, namespace, each) })),
    );
    return results;
  });
  const all = found.flat();
  const accepted = all.filter(({ result }) => result === 'accepted');
  const unknown = all.flatMap(({ namespace, result }) =>
    typeof result === 'object' ? [{ namespace, why: result.unknown }] : [],
  );
  const refused = namespaces.filter((name) =>
    all.every(({ namespace, result }) => namespace !== name || result === 'refused'),
  );
  const names = tries.map(([what]) => what).join(', and ');
  return [
    ...tries.flatMap(([what]) => {
      const into = accepted.filter((each) => each.what === what).map(({ namespace }) => namespace);
      if (into.length === 0) return [];
      const text = `A pod ${what} would be let into ${firstOf(into)}, as a dry run shows`;
      return [line('PodsLetThrough', 'fail', text, { what, namespaces: into })];
    }),
    ...(refused.length === 0
      ? []
      : [
          line(
            'PodsRefused',
            'pass',
            `Pods ${names} are refused in ${countOf(refused.length, 'namespace')}, as dry runs show`,
            { namespaces: refused },
          ),
        ]),
    ...(unknown[0] === undefined
      ? []
      : [
          line(
            'PodsNotTried',
            'warning',
            `What pods may do was not tried in ${firstOf([...new Set(unknown.map(({ namespace }) => namespace))])}: ${unknown[0].why}`,
            { namespaces: unknown },
          ),
        ]),
  ];

  async function tryPod(from: Api, namespace: string, each: object): Promise<Result> {
    const body = { apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'gvisor-ready-check-' }, spec: each };
    try {
      const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All`;
      const { spec: stored } = await from.post<ApiObject<V1Pod>>(path, body);
      const isInjected = !('volumes' in each) && classes.includes(stored?.runtimeClassName ?? '');
      return isInjected ? 'refused' : 'accepted';
    } catch (error) {
      if (!(error instanceof KubeError)) throw error;
      return /requires gVisor|violates PodSecurity/.test(error.message)
        ? 'refused'
        : { unknown: errorLine(error) };
    }
  }
}
