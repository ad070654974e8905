import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type {
  KubernetesObject,
  V1DaemonSet,
  V1PodSpec,
  V1ResourceQuota,
  V1RuntimeClass,
} from '@kubernetes/client-node';
import { REPO } from '../../hack/paths.ts';
import { agentSettingsOf } from '../../lib/fleet/objects.ts';
import { handlerKey } from '../../lib/report/node-object.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { UserDirectory } from '../docs/user-directory.ts';
import { overlay } from '../e2e/agents.ts';
import { INJECTS } from '../kubernetes-minor.ts';
import { USERS_APPLY, useApiServer } from './api-server.ts';

const cluster = useApiServer([]);
const COMPONENTS = ['taint', 'k3s', 'rke2', 'k0s', 'microk8s', 'kvm'] as const;

async function directoryWith(t: TestContext, components: readonly string[]): Promise<string> {
  const directory = await overlay(components);
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

/** The objects of a kustomization, as the API server would store them. */
async function objectsOf(directory: string): Promise<readonly KubernetesObject[]> {
  const args = ['apply', '--dry-run=server', '-o', 'json', '-k', directory];
  return (JSON.parse(await cluster().kubectl(args)) as { items: KubernetesObject[] }).items;
}

function agentAmong(items: readonly KubernetesObject[]): V1PodSpec {
  const agent: V1DaemonSet | undefined = items.find(({ kind }) => kind === 'DaemonSet');
  return agent?.spec?.template.spec ?? assert.fail();
}

describe('the manifests', () => {
  it('say `unchanged` when they are applied again', async (t) => {
    const directory = await directoryWith(t, [
      ...['taint', 'k3s', 'enforce', 'enforce-bindings'],
      ...(INJECTS ? ['inject'] : []),
    ]);
    await cluster().kubectl([...USERS_APPLY, '-k', directory]);
    const printed = (await cluster().kubectl([...USERS_APPLY, '-k', directory])).trim().split('\n');
    assert.ok(printed.length > 30, `${printed.length}`);
    assert.deepEqual(
      printed.filter((line) => !line.endsWith(' unchanged')),
      [],
    );
  });

  it('mount host directories read-only at their own paths', async (t) => {
    const directory = await directoryWith(t, COMPONENTS);
    const { volumes, containers } = agentAmong(await objectsOf(directory));
    const paths = new Map(volumes?.map(({ name, hostPath }) => [name, hostPath?.path]));
    const mounts = containers[0]?.volumeMounts?.filter(({ name }) => paths.has(name)) ?? [];
    assert.equal(mounts.length, 10);
    for (const { name, mountPath, readOnly } of mounts) {
      assert.deepEqual([mountPath, readOnly], [`/host${paths.get(name)}`, true]);
    }
  });

  it('allow access to the socket under SELinux, and the priority class in a ResourceQuota', async () => {
    const items = await objectsOf(join(REPO, 'manifests/base'));
    const { containers, priorityClassName } = agentAmong(items);
    assert.deepEqual(containers[0]?.securityContext?.seLinuxOptions, { type: 'spc_t' });
    const quota: V1ResourceQuota | undefined = items.find(({ kind }) => kind === 'ResourceQuota');
    assert.deepEqual(quota?.spec?.scopeSelector?.matchExpressions, [
      { scopeName: 'PriorityClass', operator: 'In', values: [priorityClassName] },
    ]);
    assert.deepEqual(Object.keys(quota?.spec?.hard ?? {}), ['pods']);
  });

  for (const [mark, handlers, name] of [
    ['kvm', 'runsc,runsc-kvm', 'gvisor-kvm'],
    ['another', 'runsc,runsc-debug', 'gvisor-debug'],
  ] as const) {
    it(`prove a second handler, with its RuntimeClass, as docs/handlers.md adds it (${mark})`, async (t) => {
      const directory = await UserDirectory.create();
      t.after(() => directory.remove());
      const debug = join(directory.path, 'runtimeclass-debug.yaml');
      await writeFile(debug, markedBlock('docs/handlers.md', 'runtimeclass', 'file'));
      await directory.addBlock('docs/handlers.md', mark);
      const items = await objectsOf(directory.path);
      assert.deepEqual(agentAmong(items).containers[0]?.env?.at(-1), { name: 'HANDLERS', value: handlers });
      const added = items.find(({ kind, metadata }) => kind === 'RuntimeClass' && metadata?.name === name);
      const { classes } = agentSettingsOf(items.find(({ kind }) => kind === 'DaemonSet'));
      assert.deepEqual(classes, ['gvisor', name]);
      const { handler, scheduling } = added as V1RuntimeClass;
      assert.equal(handler, handlers.split(',')[1]);
      assert.deepEqual(scheduling?.nodeSelector, { [handlerKey('ready', handler)]: 'true' });
    });
  }

  it('taint nodes as docs/operations.md adds it', async (t) => {
    const directory = await UserDirectory.create();
    t.after(() => directory.remove());
    await directory.addBlock('docs/operations.md', 'taint');
    const [agent] = agentAmong(await objectsOf(directory.path)).containers;
    assert.deepEqual(agent?.env?.at(-1), { name: 'TAINT', value: 'on' });
  });

  it('of the uninstall are accepted by the API server', async () => {
    const printed = await cluster().kubectl([
      ...USERS_APPLY,
      '--dry-run=server',
      '-k',
      join(REPO, 'manifests/uninstall'),
    ]);
    assert.match(printed, /^job\.batch\/gvisor-ready-uninstall created \(server dry run\)$/m);
  });
});
