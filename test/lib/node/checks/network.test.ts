import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkNetwork } from '../../../../lib/node/checks/network.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const inspectDirectory = (cniConfDir: string, error?: string) => {
  const status = criStatus('v2.4.2', { runsc: loadedRuntime({ cniConfDir }) });
  const cniErrors = new Map(error === undefined ? [] : [['runsc', error]]);
  return inspect(checkNetwork, sourcesOf('', { cri: fakeCri({ ...status, cniErrors }) }));
};

describe('network', () => {
  it("passes with the node's network, whatever its state, and with one of the handler", async () => {
    const results = [await inspectDirectory('', 'none'), await inspectDirectory('/etc/cni/own.d')];
    assert.deepEqual(results.map(outcome), ['pass', 'pass']);
  });

  it("blocks while containerd has no network from the handler's directory", async () => {
    const result = await inspectDirectory('/etc/cni/own.d', 'no network config found in /etc/cni/own.d');
    assert.equal(outcome(result), 'blocker NetworkNotReady');
    assert.match(result.message, /cni_conf_dir "\/etc\/cni\/own.d": no network config found/);
  });
});
