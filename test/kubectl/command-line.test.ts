import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VERSION } from '../../lib/base/version.ts';
import { openFleet } from './fleet.ts';
import { plugin } from './run-plugin.ts';

const INVALID: readonly (readonly [argv: string, error: RegExp])[] = [
  ['nodess', /^error: unknown command 'nodess' \(Did you mean nodes\?\)$/m],
  ['nodes -o xml', /argument 'xml' is invalid\. Allowed choices are wide, json, yaml\.$/m],
  ['nodes --selctor', /^error: unknown option '--selctor' \(Did you mean --selector\?\)$/m],
  ['nodes extra', /^error: too many arguments for 'nodes'\. Expected 0 arguments but got 1/],
  ['why', /^error: missing required argument 'name'$/m],
  ['pods --request-timeout soon', /Write for example 5s, 2m, or 0\.$/m],
  ['check -n', /^error: option '-n, --namespace <name>' argument missing$/m],
];

describe('the command line', () => {
  for (const [argv, error] of INVALID)
    it(`rejects "${argv}" in one line with exit code 64`, async () => {
      const { code, out, err } = await plugin(argv.split(' '));
      assert.match(err, error);
      assert.deepEqual([code, out, err.trim().split('\n').length], [64, '', 1]);
    });

  it('prints its help and version', async () => {
    for (const argv of [['--help'], ['help'], ['nodes', '-h']]) {
      const { code, out, err } = await plugin(argv, { width: 60 });
      assert.deepEqual([code, err], [0, '']);
      assert.match(out, /^Usage: kubectl gvisor-ready /);
      assert.match(out, /--request-timeout <time>/);
      assert.deepEqual(
        out.split('\n').filter((line) => line.length > 60),
        [],
      );
    }
    const none = await plugin([]);
    assert.deepEqual([none.code, none.out], [64, '']);
    assert.match(none.err, /^Usage: kubectl gvisor-ready /);
    assert.deepEqual(await plugin(['--version']), { code: 0, out: `${VERSION}\n`, err: '' });
  });

  it('accepts global flags before and after the command', async (t) => {
    const { api, kubeconfig } = await openFleet(t);
    api.list('/api/v1/namespaces/x/pods', []);
    for (const argv of [
      ['-n', 'x', '--kubeconfig', kubeconfig, 'pods'],
      ['pods', '--kubeconfig', kubeconfig, '-nx'],
    ])
      assert.equal((await plugin(argv)).err, 'No pod runs in the namespace x.\n');
  });

  it('looks for the agents in the namespace of its flag', async (t) => {
    const { api, kubeconfig } = await openFleet(t);
    const path = '/apis/apps/v1/namespaces/elsewhere/daemonsets/gvisor-ready-agent';
    api.list('/api/v1/namespaces/elsewhere/pods', []);
    const argv = ['status', '--kubeconfig', kubeconfig, '--gvisor-ready-namespace', 'elsewhere'];
    assert.match((await plugin(argv)).out, /there is no DaemonSet elsewhere\/gvisor-ready-agent/);
    assert.ok(
      api.requests.some((line) => line.includes(path)),
      api.requests.join('\n'),
    );
  });

  it('impersonates the user of --as and the groups of --as-group, over port-forwards too', async (t) => {
    const { api, run } = await openFleet(t);
    await run('status --as viewer --as-group a --as-group b');
    assert.ok(api.requests.some((each) => each.includes('/portforward')));
    assert.deepEqual(new Set(api.impersonations), new Set(['viewer a, b']));
    const { code, err } = await run('nodes --as-group a');
    assert.deepEqual([code, err], [64, '--as-group needs --as\n']);
  });

  it('completes commands, flags and their choices', async () => {
    const complete = async (...argv: readonly string[]) => {
      const { out } = await plugin(['__complete', ...argv]);
      return out.split('\n').map((line) => line.split('\t')[0]);
    };
    assert.equal((await plugin(['__complete', 'sta'])).out, 'status\tthe fleet at a glance\n:4\n');
    assert.deepEqual(await complete('-n', 'x', 'no'), ['nodes', ':4', '']);
    assert.deepEqual(await complete('nodes', '-o', ''), ['wide', 'json', 'yaml', ':4', '']);
    assert.deepEqual(await complete('check', '--p'), ['--pre', ':4', '']);
    assert.deepEqual(await complete('why', 'status', ''), [':4', '']);
    assert.deepEqual(await complete('check', '-f', ''), [':0', '']);
  });

  it('completes names of the cluster, and of contexts without asking it', async (t) => {
    const { api, kubeconfig } = await openFleet(t);
    api.list('/api/v1/namespaces/eval/pods', [{ metadata: { name: 'node-pod' } }]);
    const complete = async (...argv: readonly string[]) =>
      (await plugin(['__complete', '--kubeconfig', kubeconfig, ...argv])).out.split('\n').slice(0, -2);
    assert.deepEqual(await complete('clean', 'node-'), ['node-1', 'node-2', 'node-3']);
    assert.deepEqual(await complete('-n', 'eval', 'why', 'node-'), [
      'node-1',
      'node-2',
      'node-3',
      'node-pod',
    ]);
    assert.deepEqual(await complete('pods', '-n', 'e'), ['eval']);
    api.close();
    assert.deepEqual(await complete('clean', ''), []);
    assert.deepEqual(await complete('--context', ''), ['fake', 'other']);
  });
});
