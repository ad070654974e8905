import type { V1Pod } from '@kubernetes/client-node';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import { KubeError } from '../../lib/kube/error.ts';
import type { Api, ApiObject } from '../api/api.ts';
import { type CheckLine, countOf, inSection } from '../text/output.ts';

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
  const tries = triesOf({ classes, allow });
  const found = await pooledMap(namespaces, CONCURRENCY, (namespace) =>
    Promise.all(
      tries.map(async ({ what, spec }) => {
        return { namespace, what, result: await tryPod(api, namespace, { spec, classes }) };
      }),
    ),
  );
  const all = found.flat();
  const accepted = all.filter(({ result }) => result === 'accepted');
  const unknown = all.flatMap(({ namespace, result }) =>
    typeof result === 'object' ? [{ namespace, why: result.unknown }] : [],
  );
  const refused = namespaces.filter((name) =>
    all.every(({ namespace, result }) => namespace !== name || result === 'refused'),
  );
  const names = tries.map(({ what }) => what).join(', and ');
  return [
    ...tries.flatMap(({ what }) => {
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
}

function triesOf({ classes, allow }: Settings): readonly { readonly what: string; readonly spec: object }[] {
  const containers = [CONTAINER];
  const volumes = [{ name: 'host', hostPath: { path: '/' } }];
  const ofHost = { what: 'with a hostPath', spec: { containers, volumes, runtimeClassName: classes[0] } };
  return [
    { what: 'without a RuntimeClass', spec: { containers } },
    ...(allow.includes('hostPath') ? [] : [ofHost]),
  ];
}

async function tryPod(
  api: Api,
  namespace: string,
  { spec, classes }: { readonly spec: object; readonly classes: readonly string[] },
): Promise<Result> {
  const metadata = { generateName: 'gvisor-ready-check-' };
  try {
    const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All`;
    const stored = await api.post<ApiObject<V1Pod>>(path, { apiVersion: 'v1', kind: 'Pod', metadata, spec });
    // The component inject gives a class to a pod that names none.
    const isInjected = !('volumes' in spec) && classes.includes(stored.spec?.runtimeClassName ?? '');
    return isInjected ? 'refused' : 'accepted';
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    const isRefused = /requires gVisor|violates PodSecurity/.test(error.message);
    return isRefused ? 'refused' : { unknown: errorLine(error) };
  }
}
