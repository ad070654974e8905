import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { moduleDirectory } from '../../cluster/tools/tool-groups.ts';
import { operatorModule } from '../nightly/operator-objects.ts';

/** The newest patch of every supported minor version of Kubernetes. */
export const KUBERNETES = [
  ...['1.30.14', '1.31.14', '1.32.13', '1.33.13'],
  ...['1.34.4', '1.35.4', '1.36.3', '1.37.2'],
] as const;

/** Path of a schema below the directory of {@link writeSchemas}, as a template for kubeconform's `-schema-location`. */
export const SCHEMA_PATH =
  '{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json';

type Swagger = {
  readonly definitions: Readonly<
    Record<string, { readonly 'x-kubernetes-group-version-kind'?: readonly GroupVersionKind[] }>
  >;
};
type GroupVersionKind = { readonly group: string; readonly version: string; readonly kind: string };
type CustomResourceDefinition = {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly {
      readonly name: string;
      readonly schema: { readonly openAPIV3Schema: object };
    }[];
  };
};

/**
 * Writes a JSON schema for every kind of a Kubernetes version, from the OpenAPI document of its Go module, and for the custom
 * resources in the manifests, from their CRDs.
 */
export async function writeSchemas(directory: string, version: string): Promise<void> {
  const spec = join(await moduleDirectory(`k8s.io/kubernetes@v${version}`), 'api/openapi-spec/swagger.json');
  const { definitions } = JSON.parse(await readFile(spec, 'utf8'), strict) as Swagger;
  await mkdir(join(directory, `v${version}`));
  const write = (name: string, schema: object) =>
    writeFile(join(directory, `v${version}`, `${name}.json`), JSON.stringify(schema));
  await write('definitions', { definitions });
  for (const [name, definition] of Object.entries(definitions))
    for (const kind of definition['x-kubernetes-group-version-kind'] ?? [])
      await write(fileOf(kind), { $ref: `definitions.json#/definitions/${name}` });
  for (const { group, names, versions } of await customResources())
    for (const { name, schema } of versions)
      await write(fileOf({ group, version: name, kind: names.kind }), schema.openAPIV3Schema);
}

function fileOf({ group, version, kind }: GroupVersionKind): string {
  return `${kind.toLowerCase()}-${group || version}-${version}`;
}

async function customResources(): Promise<readonly CustomResourceDefinition['spec'][]> {
  const crds = join(await operatorModule(), 'example/prometheus-operator-crd');
  const files = ['podmonitors', 'prometheusrules'].map((name) =>
    join(crds, `monitoring.coreos.com_${name}.yaml`),
  );
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return texts.map((text) => (parse(text, strict) as CustomResourceDefinition).spec);
}

/** Converts OpenAPI schemas to JSON schemas, as a reviver: forbids unlisted properties, and maps int-or-string. */
function strict(_key: unknown, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('format' in value && value.format === 'int-or-string') return { type: ['integer', 'string'] };
  const hasProperties = 'properties' in value && typeof value.properties === 'object';
  return hasProperties ? { additionalProperties: false, ...value } : value;
}
