import type { V1Deployment } from '@kubernetes/client-node';
import { type Guards, type MissingGuard, missingGuards, readGuards } from '../lib/fleet/guards.ts';
import { type Api, type ApiObject, optional } from './api.ts';
import { fleetPath } from './fleet-controller.ts';
import { labelled, listRequirements, type Requirements } from './requirements.ts';

/** Reads the admission policies, which of them are missing, and the namespaces that require gVisor. */
export async function readMissingGuards(api: Api): Promise<{
  readonly guards: Guards;
  readonly missing: readonly MissingGuard[];
  readonly requirements: Requirements;
}> {
  const [guards, requirements, hasFleet] = await Promise.all([
    readGuards((path) => api.get(path), api.installedIn),
    listRequirements(api),
    hasFleetController(api),
  ]);
  const isRequired = labelled(requirements, 'true').length > 0;
  return { guards, missing: missingGuards(guards, { hasFleet, isRequired }), requirements };
}

/** Whether the fleet controller is installed, as far as the user may know. */
async function hasFleetController(api: Api): Promise<boolean> {
  const read = optional(api.get<ApiObject<V1Deployment>>(fleetPath(api))).then(
    (found) => found !== undefined,
  );
  return (await optional(read, [403])) ?? true;
}
