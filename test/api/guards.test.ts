import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { ACCEPTED, type GuardState, GuardWatch } from '../../lib/fleet/guards.ts';
import { agentSettingsOf } from '../../lib/fleet/objects.ts';
import { createKube } from '../../lib/kube/client.ts';
import { logOf } from '../agent/publish/publisher-of.ts';
import { overlay } from '../e2e/agents.ts';
import { type Manifest, manifestObjects } from '../lib/fleet/manifest-guards.ts';
import { OVERLAYS, setting, WEAKENINGS } from '../lib/fleet/weakenings.ts';
import { USERS_APPLY, useApiServer } from './api-server.ts';

const COMPONENTS = ['enforce', 'enforce-bindings', 'inject'] as const;
const cluster = useApiServer(COMPONENTS);

/** Among the settings of an overlay. */
const OTHER_CLASS = {
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name: 'gvisor-gpu' },
  handler: 'runsc',
  scheduling: { nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' } },
};

/** As the fleet controller watches them, but looking again at once. */
describe('the guards on a real API server', () => {
  const objects = manifestObjects();
  const stop = new AbortController();
  let watch: GuardWatch;
  let done: Promise<void>;
  before(async () => {
    const token = (
      await cluster().kubectl(['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-fleet'])
    ).trim();
    const access = {
      server: `https://127.0.0.1:${cluster().port}`,
      readCa: () => readFile(join(cluster().dir, 'pki/ca.crt'), 'utf8'),
      token: async () => token,
    };
    const kube = createKube(access, { agent: 'gvisor-ready/0', count: () => {} });
    const { log } = logOf();
    watch = new GuardWatch({
      kube,
      namespace: 'gvisor-ready',
      log,
      now: () => performance.now(),
      fromFiles: false,
      settings: () => agentSettingsOf(undefined),
      rest: () => new Promise((wake) => setTimeout(wake, 50)),
    });
    await cluster().kubectl(['create', 'namespace', 'evaluations']);
    await cluster().kubectl(['label', 'namespace', 'evaluations', 'gvisor-ready.dev/require=true']);
    await send(['create'], [OTHER_CLASS]);
    done = watch.run(stop.signal).finally(() => kube.close());
    await becomes('sound', isSound);
  });
  after(async () => {
    stop.abort();
    await done;
  });

  const becomes = (what: string, holds: (state: GuardState) => boolean) =>
    waitFor(what, 60_000, async () => {
      if (watch.state !== undefined && holds(watch.state)) return true;
      throw new Error(JSON.stringify(watch.state));
    });
  const isSound = ({ missing, problem }: GuardState) => missing.length === 0 && problem === undefined;
  const send = (verb: readonly string[], items: readonly object[]) =>
    items.length === 0
      ? undefined
      : cluster().kubectl([...verb, '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  const idOf = ({ kind, metadata }: Manifest) => `${kind}/${metadata.name}`;
  /** Makes the live objects those of `to`. */
  async function change(from: readonly Manifest[], to: readonly Manifest[]): Promise<void> {
    const known = new Map(from.map((each) => [idOf(each), JSON.stringify(each)]));
    const kept = new Set(to.map(idOf));
    const isNew = (each: Manifest) => !known.has(idOf(each));
    await send(
      ['delete'],
      from.filter((each) => !kept.has(idOf(each))),
    );
    await send(['create'], to.filter(isNew));
    await send(
      ['replace'],
      to.filter((each) => !isNew(each) && known.get(idOf(each)) !== JSON.stringify(each)),
    );
  }

  for (const [what, guard, weaken] of WEAKENINGS)
    it(`are named if ${what}, and sound once they are replaced`, async (t) => {
      const weaker = weaken(objects);
      await change(objects, weaker);
      const sinceMs = performance.now();
      await becomes(`the guard ${guard}`, ({ missing }) => missing.some((each) => each.guard === guard));
      t.diagnostic(`named after ${((performance.now() - sinceMs) / 1_000).toFixed(1)} s`);
      await change(weaker, objects);
      await becomes('sound', isSound);
    });

  for (const [what, overlay] of OVERLAYS)
    it(`are sound with ${what}`, async () => {
      const changed = overlay(objects);
      await change(objects, changed);
      const before = watch.state;
      await becomes('the next reading', (state) => state !== before && isSound(state));
      await change(changed, objects);
    });

  it('are named if a setting lets pods name a class that runs outside gVisor', async () => {
    const { scheduling: _, ...plain } = OTHER_CLASS;
    const other = { ...plain, metadata: { name: 'plain' }, handler: 'runc' };
    const wider = setting('gvisor-ready-enforce', 'runtimeClassNames', "['gvisor', 'plain']")(objects);
    await send(['create'], [other]);
    await becomes('sound', isSound);
    await change(objects, wider);
    await becomes('the class', ({ missing }) =>
      missing.some(({ guard, effect }) => guard === 'runtimeclass/plain' && effect === 'unproven'),
    );
    await change(wider, objects);
    await send(['delete'], [other]);
    await becomes('sound', isSound);
  });

  it('are sound after a server-side apply by another manager', async () => {
    await send(['apply', '--server-side', '--force-conflicts', '--field-manager=argocd-controller'], objects);
    const before = watch.state;
    await becomes('the next reading', (state) => state !== before && isSound(state));
  });

  const name = 'gvisor-ready-enforce-pods';
  const kind = 'validatingadmissionpolicybinding';
  const narrow = (team: string) => {
    const patch = { spec: { matchResources: { namespaceSelector: { matchLabels: { team } } } } };
    return cluster().kubectl(['patch', kind, name, '--type=merge', '-p', JSON.stringify(patch)]);
  };

  it('stay narrowed when they are applied again, and are sound after the runbook', async (t) => {
    const directory = await overlay(COMPONENTS, []);
    t.after(() => rm(directory, { recursive: true }));
    const apply = () => cluster().kubectl([...USERS_APPLY, '-k', directory], undefined, 60_000);
    await narrow('a');
    const isNarrowed = ({ missing }: GuardState) =>
      missing.some(({ guard }) => guard === 'gvisor-ready-enforce');
    await becomes('the guard', isNarrowed);
    await apply();
    const before = watch.state;
    await becomes('the next reading', (state) => state !== before && isNarrowed(state));
    const runbook = await readFile(join(REPO, 'docs/runbooks/GVisorGuardMissing.md'), 'utf8');
    const [, command = ''] = /^kubectl (delete .*)\nkubectl apply -k \.$/m.exec(runbook) ?? [];
    await cluster().kubectl(command.split(' '));
    await apply();
    await becomes('sound', isSound);
  });

  it('are accepted with the digest that is named, until they differ otherwise', async () => {
    await narrow('a');
    await becomes('the guard', ({ missing }) => missing.length > 0);
    const digest = watch.state?.missing[0]?.changes?.[0]?.digest ?? assert.fail('no digest');
    await cluster().kubectl(['annotate', kind, name, `${ACCEPTED}=${digest}`]);
    await becomes('accepted', (state) => isSound(state) && state.accepted?.length === 1);
    await narrow('b');
    await becomes('the guard again', ({ missing, accepted }) => missing.length > 0 && accepted === undefined);
    await send(
      ['replace'],
      objects.filter(({ metadata }) => metadata.name === name),
    );
    await becomes('sound', isSound);
  });
});
