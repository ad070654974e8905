import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { SETTINGS } from '../../agent/config.ts';
import { VERSION } from '../../agent/version.ts';
import { FLEET_SETTINGS } from '../../fleet/settings.ts';
import { CHART, COPIES, chartFiles } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';

const read = (path: string) => readFile(join(REPO, path), 'utf8');

/** A schema as far as it tells which keys there are. */
type Schema = {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
};
const SCHEMA = JSON.parse(await read(`${CHART}/values.schema.json`)) as Schema;
const VALUES = parse(await read(`${CHART}/values.yaml`)) as Readonly<Record<string, unknown>>;

/** The paths of all keys that a schema names. */
function keysOf({ properties = {} }: Schema, path: readonly string[] = []): string[] {
  return Object.entries(properties).flatMap(([key, inner]) => [
    [...path, key].join('.'),
    ...keysOf(inner, [...path, key]),
  ]);
}

/** The schemas, this one and below it, that name keys. */
function closed(schema: Schema): Schema[] {
  const { properties } = schema;
  return properties === undefined ? [] : [schema, ...Object.values(properties).flatMap(closed)];
}

describe('the chart', () => {
  it('has the version of the project', async () => {
    const { version, appVersion } = parse(await read(`${CHART}/Chart.yaml`)) as Record<string, string>;
    assert.deepEqual({ version, appVersion }, { version: VERSION, appVersion: VERSION });
  });

  it('holds the files of the manifests, as `npm run chart` copies them', async () => {
    const copies = globSync('**/*.*', { cwd: join(REPO, COPIES) }).sort();
    assert.deepEqual(copies, chartFiles());
    for (const path of copies)
      assert.equal(await read(`${COPIES}/${path}`), await read(`manifests/${path}`), path);
  });

  it('has a schema that knows each value, and no key besides', () => {
    const known = keysOf(SCHEMA).filter((path) => path !== 'global');
    const missing = known.filter((path) => path.split('.').reduce<unknown>(memberOf, VALUES) === undefined);
    assert.deepEqual(missing, []);
    const top = Object.keys(VALUES).filter((key) => !known.includes(key));
    assert.deepEqual(top, []);
    for (const each of closed(SCHEMA)) assert.equal(each.additionalProperties, false);
  });

  it("has the settings of the agent and of the controller, but for those that are the pod's own", () => {
    const own = ['NODE_NAME', 'POD_UID', 'HOST_ROOT', 'LISTEN_ADDRESS', 'TAINT', 'PORT', 'KUBECONFIG'];
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
