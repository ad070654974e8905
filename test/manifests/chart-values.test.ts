import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { chartReadme } from '../../hack/chart.ts';
import { HELM, renderChart } from './chart-objects.ts';

/** Invalid values and a part of the error. */
const REFUSED: readonly (readonly [values: object, message: RegExp])[] = [
  [{ agnet: {} }, /agnet/],
  [{ agent: { resource: {} } }, /resource/],
  [{ settings: { PROOF_INTERVALL: '5m' } }, /PROOF_INTERVALL/],
  [{ settings: { PROOF_INTERVAL: '5 minutes' } }, /PROOF_INTERVAL/],
  [{ settings: { PROOF_INTERVAL: '5s' } }, /settings\.PROOF_INTERVAL="5s" is not between 10 s and 86400 s/],
  [{ settings: { UNKNOWN_GRACE: '1.5h' } }, /UNKNOWN_GRACE="1.5h" is not between 0 s and 3600 s/],
  [
    { fleet: { settings: { REPORT_INTERVAL: '31000ms' } } },
    /fleet.settings.REPORT_INTERVAL="31000ms" is not/,
  ],
  [{ global: { imageRegistry: 'registry.example.org/' } }, /imageRegistry/],
  [{ settings: { MIN_RUNSC_RELEASE: 20240325.5 } }, /MIN_RUNSC_RELEASE/],
  [{ distribution: 'k3os' }, /distribution/],
  [{ install: { image: '' } }, /image/],
  [{ install: { additional: [{ image: 'a' }] } }, /handler/],
  [{ install: { additional: [{ handler: 'runsc_kvm' }] } }, /handler/],
  [{ enforce: { allow: ['hostpath'] } }, /allow/],
  [{ enforce: { runtimeClassNames: ["gvisor'"] } }, /runtimeClassNames/],
  [{ networkPolicy: { apiServerPorts: [] } }, /apiServerPorts/],
  [{ networkPolicy: { namespaces: ['Monitoring'] } }, /namespaces/],
  [{ fleet: { settings: { AGENT_TIMEOUT: 90 } } }, /AGENT_TIMEOUT/],
  [{ agent: { extraEnv: { LOG_LEVEL: 'debug' } } }, /extraEnv/],
  [{ agent: { extraVolumeMounts: [{ name: 'opt', mountpath: '/opt' }] } }, /mountpath/],
  [{ agent: { serviceAccount: { name: "a' || true" } } }, /serviceAccount/],
  [{ runtimeClass: { name: "gvisor'" } }, /runtimeClass/],
  [{ runtimeClass: { additional: { 'runsc-kvm': 'KVM' } } }, /additional/],
  [{ runtimeClass: { overhead: { cpu: true } } }, /overhead/],
];

describe('the values of the chart', () => {
  it('are in the README, as `npm run chart` writes it', async () => {
    const { path, text } = await chartReadme();
    assert.equal(await readFile(path, 'utf8'), text);
  });
});

describe(`the schema of the values and their bounds, read by ${HELM}`, () => {
  for (const [values, message] of REFUSED) {
    it(`rejects ${JSON.stringify(values)}`, async () => {
      await assert.rejects(renderChart(values), message);
    });
  }
});
