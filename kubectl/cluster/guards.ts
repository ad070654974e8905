import {
  type GuardState,
  type Guards,
  judgeGuards,
  missingClasses,
  readGuards,
} from '../../lib/fleet/guards.ts';
import { agentSettingsOf } from '../../lib/fleet/objects.ts';
import type { RuntimeClass } from '../../lib/fleet/runtime-classes.ts';
import { type Api, optional } from '../api/api.ts';
import { readDaemonSet } from './agent-reports.ts';
import { readDeployment, type readView } from './fleet-controller.ts';
import { CLASSES, labelled, listRequirements } from './requirements.ts';

/** Rejects if the user may not list policies. */
export async function readOwnGuards(api: Api): Promise<Guards> {
  const { account, handlers } = agentSettingsOf(await optional(readDaemonSet(api), [403]));
  const deployment = await readDeployment(api);
  const fleet =
    typeof deployment === 'object' ? deployment.spec?.template.spec?.serviceAccountName : undefined;
  const accounts = { agent: account, fleet };
  const installation = { namespace: api.installedIn, accounts, mainHandler: handlers[0] };
  return readGuards((path) => api.get(path), installation);
}

/** The fleet controller's verdict, so that everybody says the same; without one, what this user can see. */
export async function readGuardState(
  api: Api,
  view: Awaited<ReturnType<typeof readView>>,
): Promise<GuardState> {
  const known = typeof view === 'object' ? view.guards : undefined;
  if (known !== undefined && known.problem === undefined) return known;
  const [guards, requirements, deployment, classes, daemonSet] = await Promise.all([
    readOwnGuards(api),
    listRequirements(api),
    readDeployment(api),
    optional(
      api.list<RuntimeClass, RuntimeClass>(CLASSES, {}, (item) => item as unknown as RuntimeClass),
      [403],
    ),
    optional(readDaemonSet(api), [403]),
  ]);
  const isRequired = labelled(requirements, 'true').length > 0;
  // A controller that the user may not see counts as installed.
  const hasFleet = deployment !== 'absent';
  const fromFiles = hasPoliciesInFiles(deployment);
  const { missing, accepted } = judgeGuards(guards, { hasFleet, isRequired, fromFiles });
  const settings = agentSettingsOf(daemonSet);
  const facts = { guards, settings, isRequired, seen: new Set<string>() };
  const faults = classes === undefined ? [] : missingClasses(classes, facts).faults;
  return {
    isRequired,
    missing: [...missing, ...faults],
    accepted,
    fromFiles,
    ...(known?.problem !== undefined && { problem: known.problem }),
  };
}

/** As the fleet controller is told. */
function hasPoliciesInFiles(deployment: Awaited<ReturnType<typeof readDeployment>>): boolean {
  if (typeof deployment !== 'object') return false;
  const { env = [] } = deployment.spec?.template.spec?.containers[0] ?? {};
  return env.some(({ name, value }) => name === 'GUARDS_FROM_FILES' && value === 'on');
}
