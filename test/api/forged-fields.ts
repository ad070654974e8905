import type { Cluster } from '../../cluster/cluster.ts';
import { patch, strategicPatch } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';

/** A part of an OpenAPI v3 document: the shape of one value. */
type Schema = {
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly type?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
};
type Schemas = Readonly<Record<string, Schema>>;
type Part = 'metadata' | 'spec' | 'status';

/** A field of a Node: its path, and a call that forges it on node-1. */
export type Forgery = { readonly part: Part; readonly field: string; readonly call: ApiCall };

const NODE = '/api/v1/nodes/node-1';
const TYPES: readonly (readonly [Part, string])[] = [
  ['metadata', 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'],
  ['spec', 'io.k8s.api.core.v1.NodeSpec'],
  ['status', 'io.k8s.api.core.v1.NodeStatus'],
];

/** Fields that the API server validates before any policy. */
const WITH_FORMAT: Readonly<Record<string, unknown>> = {
  finalizers: ['example.org/forged'],
  generateName: 'forged-',
  podCIDR: '10.9.8.0/24',
  podCIDRs: ['10.9.8.0/24'],
  taints: [{ key: 'example.org/forged', effect: 'NoSchedule' }],
};

/** Fields that the API server sets on every write of a Node. */
const SERVER_FIELDS = ['metadata.managedFields', 'metadata.resourceVersion'];

/** A forgery of every field of node-1 in the API server's schema, so that new fields are included. */
export async function forgeries(cluster: Cluster): Promise<readonly Forgery[]> {
  const { components } = JSON.parse(await cluster.get('/openapi/v3/api/v1')) as {
    readonly components: { readonly schemas: Schemas };
  };
  const node = await readParts(cluster);
  return TYPES.flatMap(([part, type]) => {
    const fields = Object.entries(components.schemas[type]?.properties ?? {});
    return fields.map(([field, schema]) => {
      const value = WITH_FORMAT[field] ?? sampleOf(schema, components.schemas, node[part][field]);
      const body = { [part]: { [field]: value } };
      const call = part === 'status' ? strategicPatch(`${NODE}/status`, body) : patch(NODE, body);
      return { part, field, call };
    });
  }).filter(({ part, field }) => !SERVER_FIELDS.includes(`${part}.${field}`));
}

/** The current value of the field that a forgery targets. */
export async function fieldNow(cluster: Cluster, { part, field }: Forgery): Promise<unknown> {
  return (await readParts(cluster))[part][field];
}

async function readParts(cluster: Cluster): Promise<Record<Part, Readonly<Record<string, unknown>>>> {
  return JSON.parse(await cluster.get(NODE)) as Record<Part, Record<string, unknown>>;
}

/** A value of this shape that differs from the current one. */
function sampleOf(schema: Schema, schemas: Schemas, now?: unknown): unknown {
  const named = schema.$ref?.split('/').at(-1);
  if (named?.endsWith('.Quantity')) return '7';
  if (named !== undefined) return sampleOf(schemas[named] ?? {}, schemas, now);
  const inner = schema.allOf?.[0];
  if (inner !== undefined) return sampleOf(inner, schemas, now);
  if (schema.format === 'date-time') return '2026-01-01T00:00:00Z';
  if (schema.type === 'boolean') return now !== true;
  if (schema.type === 'integer') return 7;
  if (schema.type === 'array') return [sampleOf(schema.items ?? {}, schemas)];
  if (schema.type !== 'object') return 'Forged';
  if (schema.additionalProperties !== undefined) {
    return { forged: sampleOf(schema.additionalProperties, schemas) };
  }
  const nowOf = (name: string) => (now as Readonly<Record<string, unknown>> | undefined)?.[name];
  const fields = Object.entries(schema.properties ?? {});
  return Object.fromEntries(fields.map(([name, each]) => [name, sampleOf(each, schemas, nowOf(name))]));
}
