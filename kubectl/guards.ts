import { type Guards, type MissingGuard, missingGuards, readGuards } from '../lib/fleet/guards.ts';
import type { Api } from './api.ts';
import { readDeployment } from './fleet-controller.ts';
import { labelled, listRequirements, type Requirements } from './requirements.ts';

/** Also the namespaces that require gVisor. */
export async function readMissingGuards(api: Api): Promise<{
  readonly guards: Guards;
  readonly missing: readonly MissingGuard[];
  readonly requirements: Requirements;
}> {
  const [guards, requirements, fleet] = await Promise.all([
    readGuards((path) => api.get(path)),
    listRequirements(api),
    readDeployment(api),
  ]);
  const isRequired = labelled(requirements, 'true').length > 0;
  // A controller that the user may not see counts as installed.
  const hasFleet = fleet !== 'absent';
  return { guards, missing: missingGuards(guards, { hasFleet, isRequired }), requirements };
}
