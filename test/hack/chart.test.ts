import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import FLEET_SETTINGS from '../../controller/settings.json' with { type: 'json' };
import { CHART, copyManifests } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };

const read = (path: string) => readFile(join(REPO, path), 'utf8');

type Schema = {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
};
const SCHEMA = JSON.parse(await read(`${CHART}/values.schema.json`)) as Schema;
const VALUES = parse(await read(`${CHART}/values.yaml`)) as Readonly<Record<string, unknown>>;

/** The paths of all keys in a schema. */
function keysOf({ properties = {} }: Schema, path: readonly string[] = []): string[] {
  return Object.entries(properties).flatMap(([key, inner]) => [
    [...path, key].join('.'),
    ...keysOf(inner, [...path, key]),
  ]);
}

/** The schema and its subschemas that have properties. */
function closed(schema: Schema): Schema[] {
  const { properties } = schema;
  return properties === undefined ? [] : [schema, ...Object.values(properties).flatMap(closed)];
}

describe('the chart', () => {
  for (const part of ['base', 'uninstall'])
    it(`reaches the API server by default on the ports of manifests/${part}`, async () => {
      const policy = parse(await read(`manifests/${part}/network-policy.yaml`)) as {
        readonly spec: { readonly egress: readonly { readonly ports: readonly object[] }[] };
      };
      const { apiServerPorts } = VALUES.networkPolicy as { readonly apiServerPorts: readonly number[] };
      const ports = apiServerPorts.map((port) => ({ protocol: 'TCP', port }));
      assert.deepEqual(policy.spec.egress[0]?.ports, ports);
    });

  it('copies the manifests that its templates read', async () => {
    await copyManifests();
    const copies = globSync('*/**/*.*', { cwd: join(REPO, CHART, 'files') });
    const copied = await Promise.all(copies.map((path) => read(`${CHART}/files/${path}`)));
    assert.deepEqual(copied, await Promise.all(copies.map((path) => read(`manifests/${path}`))));
    const templates = globSync(`${CHART}/templates/**/*.yaml`, { cwd: REPO });
    const text = (await Promise.all(templates.map(read))).join('\n');
    const named = [...text.matchAll(/"((?:base|components|uninstall)\/[^"%]+)"/g)].map(
      ([, path = '']) => path,
    );
    assert.notEqual(named.length, 0);
    assert.deepEqual(
      named.filter((path) => !copies.includes(path)),
      [],
    );
  });

  it('has a value for each key of the schema, and no other', () => {
    // Those two belong to charts above this one.
    const known = keysOf(SCHEMA).filter((path) => !/^(global|enabled)\b/.test(path));
    const missing = known.filter((path) => path.split('.').reduce<unknown>(memberOf, VALUES) === undefined);
    assert.deepEqual(missing, []);
    const top = Object.keys(VALUES).filter((key) => !known.includes(key));
    assert.deepEqual(top, []);
    for (const each of closed(SCHEMA))
      assert.equal(each.additionalProperties, each === SCHEMA.properties?.global ? undefined : false);
  });

  it('has every setting of the agent and the fleet controller that the manifests leave open', () => {
    const ofComponents = ['TAINT', 'EGRESS_NAMESPACE'];
    const own = ['NODE_NAME', 'POD_UID', 'HOST_ROOT', 'LISTEN_ADDRESS', 'KUBECONFIG', ...ofComponents];
    const named = (settings: object) => Object.keys(settings).filter((name) => !own.includes(name));
    const { settings, fleet } = SCHEMA.properties ?? {};
    assert.deepEqual(Object.keys(settings?.properties ?? {}).sort(), named(SETTINGS).sort());
    assert.deepEqual(
      Object.keys(fleet?.properties?.settings?.properties ?? {}).sort(),
      named(FLEET_SETTINGS).sort(),
    );
  });
});

function memberOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}
