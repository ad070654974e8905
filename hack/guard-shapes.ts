import { globSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { type Admission, shapeOf } from '../lib/fleet/guard-shape.ts';
import { NAMESPACE } from '../lib/kube/access.ts';
import { REPO } from './paths.ts';

/** Relative to the repository. */
export const SHAPES = 'lib/fleet/guard-shapes.json';

type Manifest = Admission & { readonly kind: string };

/** The shapes of the policies and bindings of manifests/, as JSON. */
export async function guardShapes(): Promise<string> {
  const files = globSync('manifests/**/*.yaml', { cwd: REPO });
  const texts = await Promise.all(files.map((file) => readFile(join(REPO, file), 'utf8')));
  const objects = texts.flatMap((text) => parseAllDocuments(text).map((each) => each.toJS() as Manifest));
  const shapesOf = (kind: RegExp) => {
    const own = objects.filter((each) => kind.test(each?.kind));
    const shapes = own.map((each) => {
      const shape = shapeOf(each, { namespace: NAMESPACE, accounts: {} });
      return [each.metadata.name, { policy: each.spec?.policyName, shape }] as const;
    });
    return Object.fromEntries(shapes.sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  const shapes = {
    policies: shapesOf(/AdmissionPolicy$/),
    bindings: shapesOf(/AdmissionPolicyBinding$/),
  };
  return `${JSON.stringify(shapes, undefined, 2)}\n`;
}

if (import.meta.filename === process.argv[1]) await writeFile(join(REPO, SHAPES), await guardShapes());
