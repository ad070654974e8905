import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { overlay } from '../e2e/agents.ts';
import { useApiServer } from './api-server.ts';

const cluster = useApiServer([]);
const COMPONENTS = ['taint', 'k3s', 'rke2', 'k0s', 'microk8s'] as const;
type Mount = { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean };
type Quota = {
  readonly kind: 'ResourceQuota';
  readonly spec: {
    readonly hard: Readonly<Record<string, string>>;
    readonly scopeSelector: { readonly matchExpressions: readonly object[] };
  };
};
type DaemonSet = {
  readonly kind: 'DaemonSet';
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly priorityClassName: string;
        readonly volumes: readonly { readonly name: string; readonly hostPath: { readonly path: string } }[];
        readonly containers: readonly [
          {
            readonly volumeMounts: readonly Mount[];
            readonly securityContext: { readonly seLinuxOptions?: object };
          },
        ];
      };
    };
  };
};

async function folderWith(t: TestContext, components: readonly string[]): Promise<string> {
  const folder = await overlay(components);
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** The objects of a kustomization, as the API server would store them. */
async function objectsOf(folder: string): Promise<readonly (DaemonSet | Quota)[]> {
  const words = ['apply', '--dry-run=server', '-o', 'json', '-k', folder];
  return (JSON.parse(await cluster().kubectl(words)) as { items: (DaemonSet | Quota)[] }).items;
}

describe('the manifests', () => {
  for (const components of [...COMPONENTS.map((name) => [name]), COMPONENTS]) {
    it(`are accepted by the API server with ${components.join(', ')}`, async (t) => {
      const folder = await folderWith(t, components);
      const said = await cluster().kubectl(['apply', '--dry-run=server', '-k', folder]);
      assert.match(said, /^daemonset\.apps\/gvisor-ready-agent \w+ \(server dry run\)$/m);
    });
  }

  it('mount folders of the host, each under its own path and read-only', async (t) => {
    const folder = await folderWith(t, COMPONENTS);
    const items = await objectsOf(folder);
    const agent = items.find((item) => item.kind === 'DaemonSet')?.spec.template.spec;
    const paths = new Map(agent?.volumes.map(({ name, hostPath }) => [name, hostPath.path]));
    const mounts = agent?.containers[0].volumeMounts.filter(({ name }) => paths.has(name)) ?? [];
    assert.equal(mounts.length, 10);
    for (const { name, mountPath, readOnly } of mounts) {
      assert.deepEqual([mountPath, readOnly], [`/host${paths.get(name)}`, true]);
    }
  });

  it('let the agent reach the socket under SELinux, and allow its priority where a quota must', async () => {
    const items = await objectsOf(join(REPO, 'manifests/base'));
    const agent = items.find((item) => item.kind === 'DaemonSet')?.spec.template.spec;
    assert.deepEqual(agent?.containers[0].securityContext.seLinuxOptions, { type: 'spc_t' });
    const quota = items.find((item) => item.kind === 'ResourceQuota')?.spec;
    assert.deepEqual(quota?.scopeSelector.matchExpressions, [
      { scopeName: 'PriorityClass', operator: 'In', values: [agent?.priorityClassName] },
    ]);
    assert.deepEqual(Object.keys(quota?.hard ?? {}), ['pods']);
  });

  it('of the uninstall are accepted by the API server', async () => {
    const said = await cluster().kubectl([
      'apply',
      '--dry-run=server',
      '-k',
      join(REPO, 'manifests/uninstall'),
    ]);
    assert.match(said, /^job\.batch\/gvisor-ready-uninstall created \(server dry run\)$/m);
  });
});
