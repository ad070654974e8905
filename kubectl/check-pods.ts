import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { count, named } from './known.ts';
import { listRequirements } from './pod-view.ts';
import { type PodRow, readPods } from './pods.ts';

const DOCS = 'docs/runbooks/GVisorUnsandboxedPods.md';

/** Whether the pods of namespaces that require gVisor run in it. */
export async function checkPods(context: Context): Promise<readonly CheckLine[]> {
  const line = inSection('Pods');
  const requirements = await listRequirements(context.api);
  const required = [...requirements].filter(([, value]) => value === 'true').map(([name]) => name);
  if (required.length === 0)
    return [line('pass', 'No namespace requires gVisor, so no pod breaks that', DOCS)];
  const { rows } = await readPods(context, required);
  if (rows.length === 0)
    return [line('pass', `No pod runs in ${named(required)}, which must run in gVisor`, DOCS)];
  const [wrong, open, dark] = (['no', 'open', '?'] as const).map((word) =>
    rows.filter(({ inGvisor }) => inGvisor === word),
  ) as [PodRow[], PodRow[], PodRow[]];
  const names = (some: typeof rows) => named(some.map(({ namespace, name }) => `${namespace}/${name}`));
  return [
    ...(wrong.length > 0
      ? [line('fail', `Outside of gVisor where it is required: ${names(wrong)}`, DOCS)]
      : []),
    ...(open.length > 0
      ? [line('fail', `With a way out of gVisor where it is required: ${names(open)}`, DOCS)]
      : []),
    ...(dark.length > 0
      ? [
          line(
            'unknown',
            `It is not known what ${names(dark)} ${dark.length === 1 ? 'runs' : 'run'} in: ${dark[0]?.evidence}`,
            'docs/runbooks/GVisorPodsUnseen.md',
          ),
        ]
      : []),
    ...(wrong.length + open.length + dark.length === 0
      ? [
          line(
            'pass',
            `Of ${count(rows.length, 'pod')} that must run in gVisor, none runs outside of it`,
            DOCS,
          ),
        ]
      : []),
  ];
}
