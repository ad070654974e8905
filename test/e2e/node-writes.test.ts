import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runAll } from '../../hack/run.ts';
import { type Patch, send, tokenOf, write } from './agent-token.ts';
import { DOMAIN } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';
import { fieldNow, forgeries } from './forged-fields.ts';
import { condition, EVENTS, event, label, REFUSED_EVENTS, REFUSED_WRITES } from './stolen-token-writes.ts';

const cluster = useCluster();

describe('what a stolen token of one node cannot write', () => {
  for (const [what, attempt, why] of REFUSED_WRITES) {
    it(what, async () => {
      assert.match(await write(cluster(), await tokenOf(cluster(), 'node-1'), attempt), why);
    });
  }

  it('any other field of its Node in the schema of the API server', async () => {
    const token = await tokenOf(cluster(), 'node-1');
    const tried = await forgeries(cluster());
    assert.ok(tried.length > 30, `only ${tried.length} fields`);
    let refused = 0;
    for (const forgery of tried) {
      const was = await fieldNow(cluster(), forgery);
      const answer = await write(cluster(), token, forgery.patch);
      // The API server ignores some fields, such as the generation: it accepts the patch and changes nothing.
      if (answer === '') assert.deepEqual(await fieldNow(cluster(), forgery), was, JSON.stringify(forgery));
      else if (/ValidatingAdmissionPolicy/.test(answer)) refused++;
      else assert.match(answer, /^4(00|22) /, 'neither by the policy nor for its form');
    }
    assert.ok(refused > 20, `the policy refused only ${refused} fields`);
  });

  it('anything, when the token is not bound to a pod', async () => {
    const token = (
      await cluster().kubectl(['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-agent'])
    ).trim();
    assert.match(
      await write(cluster(), token, { node: 'node-1', patch: label(`${DOMAIN}/ready`, 'false') }),
      /only its own Node/,
    );
  });

  for (const [what, body, why, path = EVENTS] of REFUSED_EVENTS) {
    it(what, async () => {
      const type = 'json';
      assert.match(
        await send(cluster(), await tokenOf(cluster(), 'node-1'), { method: 'POST', path, type, body }),
        why,
      );
    });
  }

  for (const [what, path] of [
    ['a Node away', '/api/v1/nodes/node-1'],
    ['a pod away', '/api/v1/namespaces/gvisor-ready/pods/any'],
  ] as const) {
    it(what, async () => {
      const answer = await send(cluster(), await tokenOf(cluster(), 'node-1'), {
        method: 'DELETE',
        path,
        type: 'json',
      });
      assert.match(answer, /^403 .* cannot delete resource/);
    });
  }

  it('while its own keys are accepted', async () => {
    const token = await tokenOf(cluster(), 'node-3');
    const path = 'jsonpath={.status.conditions[?(@.type=="GVisorReady")]}';
    const was: unknown = JSON.parse(await cluster().kubectl(['get', 'node', 'node-3', '-o', path]));
    assert.equal(
      await write(cluster(), token, { node: 'node-3', patch: label(`${DOMAIN}/platform`, 'written') }),
      '',
    );
    assert.equal(
      await write(cluster(), token, { node: 'node-3', patch: label(`${DOMAIN}/platform`, null) }),
      '',
    );
    const source = { component: 'gvisor-ready', host: 'node-3' };
    const own = event({ involvedObject: { kind: 'Node', name: 'node-3' }, source });
    assert.equal(await send(cluster(), token, { method: 'POST', path: EVENTS, type: 'json', body: own }), '');
    const written: Patch = { node: 'node-3', status: true, patch: condition('GVisorReady') };
    assert.equal(await write(cluster(), token, written), '');
    assert.equal(await write(cluster(), token, { ...written, patch: { status: { conditions: [was] } } }), '');
  });

  it('and a kubelet cannot write the label of its own node either', async () => {
    const patch = JSON.stringify(label(`${DOMAIN}/ready`, 'true'));
    const { command, args } = cluster().kubectlCommand([
      'patch',
      'node',
      'node-3',
      '--type=merge',
      '-p',
      patch,
    ]);
    const machine = cluster().node('node-3').machine;
    const kubeconfig = ['--kubeconfig', '/etc/kubernetes/kubelet.kubeconfig'];
    const { code, stderr } = await runAll('nsenter', machine.enter(command, ...kubeconfig, ...args.slice(2)));
    assert.equal(code, 1);
    assert.match(stderr, /is not allowed to modify labels/);
  });
});
