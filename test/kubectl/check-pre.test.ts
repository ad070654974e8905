import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { faults } from './check-faults.ts';
import { DAEMON_SET, setNode } from './fleet.ts';
import { nodeOf } from './fleet-objects.ts';
import { type Fleet, openFleet } from './open-fleet.ts';

const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';

describe('check --pre', () => {
  const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

  /** A cluster without anything of gVisor's, whose user may do all but what is named. */
  async function bare(t: Parameters<typeof openFleet>[0], denied = ''): Promise<Fleet> {
    const fleet = await openFleet(t);
    const { api } = fleet;
    api.behind.delete(DAEMON_SET);
    api.list(CLASSES, []);
    for (const name of ['node-1', 'node-2', 'node-3']) setNode(api, nodeOf(name, { ready: '', status: '' }));
    api.behind.set(REVIEWS, (_, body) => {
      const { spec } = JSON.parse(body) as {
        spec: { resourceAttributes: { verb: string; resource: string } };
      };
      const { verb, resource } = spec.resourceAttributes;
      return { status: { allowed: `${verb} ${resource}` !== denied } };
    });
    return fleet;
  }

  it('says that it can be installed', async (t) => {
    const fleet = await bare(t);
    const { code, out } = await fleet.run('check --pre');
    assert.equal(code, 0, out);
    assert.match(out, /✓ You may write all that the manifests hold\n/);
    assert.match(out, /✓ An agent can judge 3 of 3 nodes/);
    assert.match(out, /\n5 in order: it can be installed\.\n$/);
  });

  it('says which right is missing', async (t) => {
    const { code, lines } = await faults(await bare(t, 'create clusterroles'), 'check --pre');
    assert.deepEqual([code, lines], [1, ['fail: You may not create clusterroles']]);
  });

  it('finds runtime classes that are there already', async (t) => {
    const fleet = await bare(t);
    fleet.api.list(CLASSES, [
      { metadata: { name: 'gvisor' }, handler: 'gvisor' },
      { metadata: { name: 'sandboxed' }, handler: 'runsc' },
    ]);
    const { code, lines } = await faults(fleet, 'check --pre');
    assert.equal(code, 1);
    assert.match(
      lines[0] ?? '',
      /^fail: A RuntimeClass "gvisor" is there with the handler "gvisor", which cannot be changed to "runsc"/,
    );
    assert.match(
      lines[1] ?? '',
      /^warning: The RuntimeClass "sandboxed" has the handler "runsc" and will go on to nodes that are not proven$/,
    );
    fleet.api.list(CLASSES, [{ metadata: { name: 'gvisor' }, handler: 'runsc' }]);
    assert.match(
      (await faults(fleet, 'check --pre')).lines.join(),
      /^warning: A RuntimeClass "gvisor" is there: its pods will go to proven nodes alone/,
    );
  });

  it('finds what is installed or going, and nodes that no agent can judge', async (t) => {
    const { code, lines } = await faults(
      await bare(t).then((fleet) => {
        setNode(fleet.api, nodeOf('node-2', { ready: '', status: '', runtime: 'cri-o://1.36.0' }));
        setNode(fleet.api, nodeOf('node-3', { ready: '', status: '', runtime: 'containerd://1.6.20' }));
        fleet.api.behind.set('/api/v1/namespaces/gvisor-ready', { status: { phase: 'Terminating' } });
        return fleet;
      }),
      'check --pre',
    );
    assert.equal(code, 1);
    assert.match(lines[0] ?? '', /^fail: The namespace gvisor-ready is being deleted/);
    assert.match(
      lines[1] ?? '',
      /^warning: Nodes that no agent can judge: node-2 \(cri-o:\/\/1\.36\.0\), node-3 \(containerd:\/\/1\.6\.20\)$/,
    );
  });
});
