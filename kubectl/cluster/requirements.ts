import type { V1Namespace, V1RuntimeClass } from '@kubernetes/client-node';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };
import { keysOf, OWN_KEYS } from '../../lib/report/node-object.ts';
import type { Api, ApiObject } from '../api/api.ts';

/** On nodes where the main handler is proven; the scheduler selects it. */
export const READY = OWN_KEYS.labels.ready;

/** The label with which a namespace requires gVisor. */
export const REQUIRE = 'gvisor-ready.dev/require';

/** The RuntimeClass of manifests/base. */
export const RUNTIME_CLASS = 'gvisor';

/** The main handler by default. */
export const HANDLER: string = SETTINGS.HANDLERS.fallback;

export const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';

export async function listClasses(api: Api): Promise<ReadonlyMap<string, ApiObject<V1RuntimeClass>>> {
  const classes = await api.list<V1RuntimeClass>(CLASSES);
  return new Map(classes.map((item) => [item.metadata.name, item]));
}

/** By the main handler, or by a label of proven nodes. */
export function meansGvisor(runtimeClass: ApiObject<V1RuntimeClass> | undefined): boolean {
  return (
    runtimeClass !== undefined &&
    (runtimeClass.handler === HANDLER || selectedReadyLabels(runtimeClass).length > 0)
  );
}

export function selectedReadyLabels({ scheduling }: ApiObject<V1RuntimeClass>): readonly string[] {
  return Object.entries(scheduling?.nodeSelector ?? {}).flatMap(([key, value]) =>
    value === 'true' && (key === READY || key.startsWith(OWN_KEYS.prefixes.ready)) ? [key] : [],
  );
}

export function readyLabelOf(handler: string, main = HANDLER): string {
  return keysOf(handler === main ? undefined : handler).ready;
}

/** The class's pods are scheduled only to nodes where its handler is proven. */
export function selectsProven(runtimeClass: ApiObject<V1RuntimeClass>, main = HANDLER): boolean {
  return selectedReadyLabels(runtimeClass).includes(readyLabelOf(runtimeClass.handler, main));
}

/** The value of `gvisor-ready.dev/require`, by namespace. */
export type Requirements = ReadonlyMap<string, string>;

/** The namespaces with a value of the label. */
export function labelled(requirements: Requirements, value: string): string[] {
  return [...requirements].flatMap(([name, each]) => (each === value ? [name] : []));
}

export async function listRequirements(api: Api): Promise<Requirements> {
  const values = await api.list<V1Namespace, readonly [string, string]>(
    '/api/v1/namespaces',
    { labelSelector: REQUIRE },
    ({ metadata }) => [metadata.name, metadata.labels?.[REQUIRE] ?? ''],
  );
  return new Map(values);
}
