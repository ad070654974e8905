import { describe } from 'node:test';
import type { FakeApi } from './fake-api.ts';
import {
  addHandler,
  addWarmPods,
  FLEET_PATH,
  FLEET_PODS,
  fleetDeployment,
  hangSandboxes,
  openFleet,
  setNode,
  setReport,
} from './fleet.ts';
import { agentStatus, BROKEN, nodeObject, podObject } from './fleet-objects.ts';
import { itShows } from './screens.ts';

/** Pods outside gVisor or warm on a broken node, a node where gVisor is not expected, and no fleet controller. */
function burn(api: FakeApi): void {
  addWarmPods(api, { warm: ['node-3', 'gvisor'], other: ['node-3', 'kata'], waiting: ['', 'gvisor'] });
  api.list('/api/v1/namespaces/eval/pods', [podObject('out')]);
  api.stubs.set('/api/v1/namespaces/eval/pods/out', podObject('out'));
  setReport(api, 'node-1', agentStatus('node-1', { outside: ['out'] }));
  setNode(api, nodeObject('node-2', { ...BROKEN, reason: 'HandlerNotConfigured', expected: false }));
  api.stubs.set(FLEET_PATH, fleetDeployment(0));
  api.list(FLEET_PODS, []);
}

const CASES: Readonly<Record<string, readonly [argv: string, change: (api: FakeApi) => void]>> = {
  'status of a burning fleet': ['status', burn],
  'its nodes': ['nodes', burn],
  'its pods': ['pods', burn],
  'why a node is broken': ['why node-3', burn],
  'why a pod is outside gVisor': ['why pod/out', burn],
  'its check': ['check', burn],
  'status of a fleet with an additional handler': ['status', addHandler],
  'its nodes with labels of the handler': ['nodes', addHandler],
  'why the handler is broken on a node': ['why node-2', addHandler],
  'status of a fleet whose sandboxes hang': ['status', hangSandboxes],
  'why a sandbox hangs': ['why node-1', hangSandboxes],
};

describe('-o json', () => {
  itShows('json', CASES, async ([argv, change], t) => {
    const { api, run } = await openFleet(t);
    change(api);
    return run(`${argv} -o json`);
  });
});
