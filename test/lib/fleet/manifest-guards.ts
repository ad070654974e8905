import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { REPO } from '../../../hack/paths.ts';
import type { Admission, InstalledAs } from '../../../lib/fleet/guard-shape.ts';
import type { Guards } from '../../../lib/fleet/guards.ts';

export type Manifest = Admission & { readonly apiVersion: string; readonly kind: string };

/** The installation of the base. */
export const INSTALLATION: InstalledAs = {
  namespace: 'gvisor-ready',
  accounts: { agent: 'gvisor-ready-agent', fleet: 'gvisor-ready-fleet' },
  mainHandler: 'runsc',
};

/** The admission policies among objects, and their bindings. */
export function guardsAmong(objects: readonly object[], installation = INSTALLATION): Guards {
  const of = (kind: RegExp) => (objects as readonly Manifest[]).filter((each) => kind.test(each.kind));
  return { installation, policies: of(/AdmissionPolicy$/), bindings: of(/AdmissionPolicyBinding$/) };
}

/** Every policy and binding of manifests/. */
export function manifestObjects(): readonly Manifest[] {
  const files = globSync('manifests/**/*.yaml', { cwd: REPO });
  const texts = files.map((file) => readFileSync(join(REPO, file), 'utf8'));
  const objects = texts.flatMap((text) =>
    parseAllDocuments(text).map((each) => each.toJS() as Manifest | null),
  );
  return objects.filter((each) => each !== null && /Admission/.test(each.kind)) as readonly Manifest[];
}

export const manifestGuards = (): Guards => guardsAmong(manifestObjects());
