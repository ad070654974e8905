import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { useApiServer } from './api-server.ts';
import { KVM_KEY, READY_KEY } from './fleet-objects.ts';

const cluster = useApiServer([]);
const DAEMON_SET = ['daemonset', 'gvisor-ready-agent', '-n', 'gvisor-ready'];
const kubectl = (...args: readonly string[]) => cluster().kubectl(args);
const create = (...objects: readonly object[]) =>
  cluster().kubectl(
    ['create', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  );
const nodeOf = (name: string, kvm: string) => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name,
    labels: { [READY_KEY]: 'true', [KVM_KEY]: kvm, team: 'a' },
    annotations: {
      [`${DOMAIN}/proven-by`]: '0.1.0+1',
      [`${DOMAIN}/proven-boot-runsc-kvm`]: 'boot-1',
      note: 'n',
    },
  },
});
describe('kubectl gvisor-ready uninstall with an additional handler, on a real API server', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plugin-'));
    await create(nodeOf('node-1', 'true'), nodeOf('node-2', 'false'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('leaves nothing of the handler behind, with the rights of the Job of manifests/uninstall', async () => {
    await kubectl('delete', ...DAEMON_SET);
    await kubectl('apply', '-f', join(REPO, 'manifests/uninstall/rbac.yaml'));
    const account = ['-n', 'gvisor-ready', 'gvisor-ready-uninstall'];
    const token = (await kubectl('create', 'token', ...account)).trim();
    const { dir, port } = cluster();
    const ca = await readFile(join(dir, 'pki/ca.crt'));
    const server = {
      server: `https://127.0.0.1:${port}`,
      'certificate-authority-data': ca.toString('base64'),
    };
    const kubeconfig = join(directory, 'job.kubeconfig');
    await writeFile(
      kubeconfig,
      JSON.stringify({
        'current-context': 'job',
        contexts: [{ name: 'job', context: { cluster: 'test', user: 'job' } }],
        clusters: [{ name: 'test', cluster: server }],
        users: [{ name: 'job', user: { token } }],
      }),
    );
    const { code, out, err } = await plugin(['uninstall', '--yes', '--kubeconfig', kubeconfig]);
    assert.equal(code, 0, err);
    assert.match(out, /^2 of 2 nodes to clean\n(node-\d: cleaned\n){2}$/);
    const nodes = await kubectl('get', 'nodes', '-o', 'json');
    assert.doesNotMatch(nodes, new RegExp(DOMAIN));
    const [node] = JSON.parse(nodes).items as readonly [ReturnType<typeof nodeOf>];
    assert.deepEqual([node.metadata.labels.team, node.metadata.annotations.note], ['a', 'n']);
  });
});
