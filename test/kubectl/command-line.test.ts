import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import { openFleet } from './fleet.ts';
import { plugin } from './run-plugin.ts';

const INVALID: readonly (readonly [argv: string, error: RegExp])[] = [
  ['nodess', /^error: unknown command 'nodess' \(Did you mean nodes\?\)$/m],
  ['nodes -o xml', /argument 'xml' is invalid\. Allowed choices are wide, json, yaml\.$/m],
  ['nodes --wath', /^error: unknown option '--wath' \(Did you mean --watch\?\)$/m],
  ['nodes extra', /^error: too many arguments for 'nodes'\. Expected 0 arguments but got 1/],
  ['why', /^error: missing required argument 'name'$/m],
  ['pods --request-timeout soon', /Write for example 5s, 1m30s, or 0\.$/m],
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

  it('completes commands, flags, formats, nodes, pods, namespaces and contexts', async (t) => {
    const { api, kubeconfig } = await openFleet(t);
    api.list('/api/v1/namespaces/eval/pods', [{ metadata: { name: 'node-pod' } }]);
    const complete = async (...argv: readonly string[]) => {
      const { code, out } = await plugin(['__complete', '--kubeconfig', kubeconfig, ...argv]);
      assert.equal(code, 0);
      return out
        .trim()
        .split('\n')
        .map((line) => line.split('\t')[0]);
    };
    assert.match((await plugin(['__complete', 'sta'])).out, /^status\tthe fleet at a glance\n:4\n$/);
    assert.deepEqual(await complete(''), ['status', 'nodes', 'why', 'pods', 'check', 'uninstall', ':4']);
    assert.deepEqual(await complete('no'), ['nodes', ':4']);
    assert.deepEqual(await complete('nodes', '-o', ''), ['wide', 'json', 'yaml', ':4']);
    assert.deepEqual(await complete('check', '--p'), ['--pre', ':4']);
    assert.deepEqual(await complete('why', 'node-'), ['node-1', 'node-2', 'node-3', 'node-pod', ':4']);
    assert.deepEqual(await complete('why', 'pod/'), ['pod/node-pod', ':4']);
    assert.deepEqual(await complete('why', 'node-1', ''), [':4']);
    assert.deepEqual(await complete('pods', '-n', ''), ['eval', ':4']);
    assert.deepEqual(await complete('--context', ''), ['fake', 'other', ':4']);
    assert.deepEqual(await complete('--kubeconfig', ''), [':0']);
    api.close();
    assert.deepEqual(await complete('why', ''), [':4']);
  });
});
