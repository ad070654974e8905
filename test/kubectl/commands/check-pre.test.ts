import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { forbidden } from '../fake-api.ts';
import {
  CLASS_LIST,
  DAEMON_SET_PATH,
  type Fleet,
  KVM_CLASS,
  openFleet,
  runCheck,
  setNode,
} from '../fleet.ts';
import { LABEL_DOMAIN, nodeObject, UNJUDGED } from '../fleet-objects.ts';

const READY = { [`${LABEL_DOMAIN}/ready`]: 'true' };

/** A cluster without gVisor. */
async function bareCluster(t: TestContext): Promise<Fleet> {
  const fleet = await openFleet(t);
  const { api } = fleet;
  api.stubs.delete(DAEMON_SET_PATH);
  api.list(CLASS_LIST, []);
  for (const name of ['node-1', 'node-2', 'node-3']) setNode(api, nodeObject(name, UNJUDGED));
  return fleet;
}

const CASES: readonly (readonly [
  what: string,
  change: (fleet: Fleet) => void,
  code: number,
  ...lines: readonly RegExp[],
])[] = [
  [
    'another class of the handler, and one of a handler whose label it does not select',
    ({ api }) =>
      api.list(CLASS_LIST, [
        { metadata: { name: 'sandboxed' }, handler: 'runsc' },
        KVM_CLASS,
        { ...KVM_CLASS, metadata: { name: 'kvm' }, scheduling: { nodeSelector: READY } },
      ]),
    0,
    /^warning: The RuntimeClass "sandboxed" has the handler "runsc" and no node selector gvisor\.node-restriction\.kubernetes\.io\/ready: "true": its pods will still be scheduled/,
    /^warning: The RuntimeClass "kvm" has the handler "runsc-kvm" and no node selector gvisor\.node-restriction\.kubernetes\.io\/ready-runsc-kvm: "true"/,
  ],
  [
    'a class without node selector',
    ({ api }) => api.list(CLASS_LIST, [{ metadata: { name: 'gvisor' }, handler: 'runsc' }]),
    0,
    /^warning: The RuntimeClass "gvisor" has the handler "runsc" .*: its pods will be scheduled to proven nodes only/,
  ],
  [
    'nodes that no agent can evaluate',
    ({ api }) => {
      setNode(api, nodeObject('node-2', { ...UNJUDGED, runtime: 'cri-o://1.36.0' }));
      setNode(api, nodeObject('node-3', { ...UNJUDGED, runtime: 'containerd://1.6.20' }));
    },
    0,
    /^warning: Nodes that no agent can evaluate: node-2 \(cri-o:\/\/1\.36\.0\), node-3 \(containerd:\/\/1\.6\.20\)$/,
  ],
];

describe('check --pre', () => {
  it('passes on a cluster without gVisor', async (t) => {
    const { code, out } = await (await bareCluster(t)).run('check --pre');
    assert.equal(code, 0, out);
    assert.match(out, /✓ Agents can evaluate 3 of 3 nodes/);
    assert.match(out, /\n2 passed: it can be installed\.\n$/);
  });

  it('keeps what it knows where the user has few rights', async (t) => {
    const fleet = await bareCluster(t);
    fleet.api.stubs.set('/api/v1/nodes', forbidden('list', 'nodes'));
    const { code, out } = await fleet.run('check --pre');
    assert.equal(code, 2);
    assert.match(out, /\n1 passed, 1 unknown\.\n$/);
  });

  for (const [what, change, expected, ...patterns] of CASES)
    it(`reports ${what}`, async (t) => {
      const fleet = await bareCluster(t);
      change(fleet);
      const { code, lines } = await runCheck(fleet, 'check --pre');
      assert.deepEqual([code, lines.length], [expected, patterns.length], lines.join('\n'));
      for (const [at, pattern] of patterns.entries()) assert.match(lines[at] ?? '', pattern);
    });
});
