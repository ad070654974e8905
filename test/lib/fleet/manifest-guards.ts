import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { REPO } from '../../../hack/paths.ts';
import type { Guards } from '../../../lib/fleet/guards.ts';

type Manifest = Guards['policies'][number] & Guards['bindings'][number] & { readonly kind: string };

/** The admission policies among objects, and their bindings. */
export function guardsAmong(objects: readonly object[]): Guards {
  const of = (kind: RegExp) => (objects as readonly Manifest[]).filter((each) => kind.test(each.kind));
  return { policies: of(/AdmissionPolicy$/), bindings: of(/AdmissionPolicyBinding$/) };
}

/** Every policy and binding of manifests/. */
export function manifestGuards(): Guards {
  const files = globSync('manifests/**/*.yaml', { cwd: REPO });
  const texts = files.map((file) => readFileSync(join(REPO, file), 'utf8'));
  return guardsAmong(texts.flatMap((text) => parseAllDocuments(text).map((each) => each.toJS() as object)));
}
