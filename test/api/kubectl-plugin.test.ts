import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { useApiServer } from './api-server.ts';
import { conditionOf, KVM_KEY, READY_KEY } from './fleet-objects.ts';

const cluster = useApiServer([]);
const DAEMON_SET = ['daemonset', 'gvisor-ready-agent', '-n', 'gvisor-ready'];
const kubectl = (...args: readonly string[]) => cluster().kubectl(args);
const create = (...objects: readonly object[]) =>
  cluster().kubectl(
    ['create', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }),
  );
const run = async (argv: string, kubeconfig = cluster().kubeconfig) => {
  const { code, out, err } = await plugin([...argv.split(' '), '--kubeconfig', kubeconfig]);
  return { code, text: `${out}${err}` };
};
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
const classOf = (label: string) => ({
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name: 'gvisor-kvm' },
  handler: 'runsc-kvm',
  scheduling: { nodeSelector: { [label]: 'true' } },
});

describe('kubectl gvisor-ready with an additional handler, on a real API server', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plugin-'));
    await create(nodeOf('node-1', 'true'), nodeOf('node-2', 'false'));
    const conditions = [
      conditionOf('Ready', 'True', 'KubeletReady'),
      conditionOf('GVisorReady', 'True', 'SandboxProven'),
    ];
    for (const name of ['node-1', 'node-2'])
      await kubectl(
        ...['patch', 'node', name, '--subresource=status', '-p', JSON.stringify({ status: { conditions } })],
      );
    await kubectl('set', 'env', ...DAEMON_SET, 'HANDLERS=runsc,runsc-kvm');
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('checks that a RuntimeClass selects exactly the label of its handler', async () => {
    const missing = await run('check');
    assert.match(missing.text, /^✗ No RuntimeClass has the handler "runsc-kvm", which the agents prove/m);
    await create(classOf(READY_KEY));
    const other = (await run('check')).text.replace(/\n {2}(?!see)/g, ' ');
    assert.match(
      other,
      new RegExp(
        `^✗ The RuntimeClass "gvisor-kvm" has the handler "runsc-kvm" and no node selector ${KVM_KEY}: "true"`,
        'm',
      ),
    );
    await kubectl('delete', 'runtimeclass', 'gvisor-kvm');
    await create(classOf(KVM_KEY));
    const right = await run('check');
    assert.match(right.text, /^✓ The RuntimeClass "gvisor" .* selects proven nodes$/m);
    assert.match(right.text, /^✓ The RuntimeClass "gvisor-kvm" .* selects proven nodes$/m);
  });

  it('counts the nodes where it is proven, and lists them', async () => {
    const { code, text } = await run('status');
    assert.equal(code, 1);
    assert.match(text, /^✗ Handler +runsc-kvm on 1 of 2 nodes; NoReport on node-2$/m);
    assert.match(
      (await run('nodes -o wide')).text,
      / HANDLERS .*\nnode-1 .* runsc-kvm .*\nnode-2 .* runsc-kvm=false /,
    );
  });

  it('explains a pod that waits for it', async () => {
    const containers = [{ name: 'main', image: 'busybox' }];
    const spec = { runtimeClassName: 'gvisor-kvm', containers, nodeSelector: { team: 'b' } };
    const metadata = { name: 'waits', namespace: 'default' };
    await kubectl('create', 'serviceaccount', 'default').catch(() => {});
    await create({ apiVersion: 'v1', kind: 'Pod', metadata, spec });
    const { code, text } = await run('why waits -n default');
    assert.equal(code, 1);
    assert.match(
      text.replace(/\s+/g, ' '),
      /The handler "runsc-kvm" is proven on 1 of 2 nodes\. .*✗ node: node-2 is labelled ready-runsc-kvm: "false"/,
    );
  });

  it('leaves nothing of it behind, with the rights of the Job of manifests/uninstall', async () => {
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
    const { code, text } = await run('uninstall --yes', kubeconfig);
    assert.equal(code, 0, text);
    assert.match(text, /^2 of 2 nodes to clean\n(node-\d: cleaned\n){2}$/);
    const nodes = await kubectl('get', 'nodes', '-o', 'json');
    assert.doesNotMatch(nodes, new RegExp(DOMAIN));
    const [node] = JSON.parse(nodes).items as readonly [ReturnType<typeof nodeOf>];
    assert.deepEqual([node.metadata.labels.team, node.metadata.annotations.note], ['a', 'n']);
  });
});
