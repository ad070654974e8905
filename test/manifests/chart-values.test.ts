import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HELMS, renderChart } from './chart-objects.ts';

/** Invalid values and a part of the error. */
const REFUSED: readonly (readonly [values: object, message: RegExp])[] = [
  [{ agnet: {} }, /agnet/],
  [{ agent: { resource: {} } }, /resource/],
  [{ settings: { PROOF_INTERVALL: '5m' } }, /PROOF_INTERVALL/],
  [{ settings: { PROOF_INTERVAL: '5 minutes' } }, /PROOF_INTERVAL/],
  [{ settings: { MIN_RUNSC_RELEASE: 20240325.5 } }, /MIN_RUNSC_RELEASE/],
  [{ distribution: 'k3os' }, /distribution/],
  [{ install: { image: '' } }, /image/],
  [{ enforce: { allow: ['hostpath'] } }, /allow/],
  [{ enforce: { runtimeClassNames: ["gvisor'"] } }, /runtimeClassNames/],
  [{ networkPolicy: { apiServerPorts: [] } }, /apiServerPorts/],
  [{ networkPolicy: { namespaces: ['Monitoring'] } }, /namespaces/],
  [{ fleet: { settings: { AGENT_TIMEOUT: 90 } } }, /AGENT_TIMEOUT/],
];

for (const group of HELMS) {
  describe(`the schema of the values, read by ${group}`, () => {
    for (const [values, message] of REFUSED) {
      it(`rejects ${JSON.stringify(values)}`, async () => {
        await assert.rejects(renderChart(group, values), message);
      });
    }
  });
}
