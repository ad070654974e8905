import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseEgressConfig } from '../../egress/settings.ts';

describe('the settings of the canary of egress', () => {
  it('name addresses of IPv4 and IPv6, with and without brackets', () => {
    const TARGETS = 'metadata=169.254.169.254:80  kubelet=fd00::7:10250\npod=[fd00::8]:53';
    const { config, problems } = parseEgressConfig({ TARGETS, REFUSED: 'closed' });
    assert.deepEqual(problems, []);
    assert.deepEqual(config.targets, [
      { name: 'metadata', host: '169.254.169.254', port: 80 },
      { name: 'kubelet', host: 'fd00::7', port: 10250 },
      { name: 'pod', host: 'fd00::8', port: 53 },
    ]);
    assert.equal(config.isRefusedOpen, false);
  });

  for (const [what, TARGETS] of [
    ['no target', ' '],
    ['a name of DNS', 'api=kubernetes.default:443'],
    ['a variable that the kubelet did not know', 'kubelet=$(HOST_IP):10250'],
    ['no port', 'pod=10.0.0.1'],
    ['a port beyond the last', 'pod=10.0.0.1:65536'],
    ['a name that JSON would swell', '"=10.0.0.1:80'],
    ['a name twice', 'pod=10.0.0.1:80 pod=10.0.0.2:80'],
    ['too many targets', Array.from({ length: 17 }, (_, index) => `pod-${index}=10.0.0.1:80`).join(' ')],
  ] as const)
    it(`refuse ${what}`, () => assert.equal(parseEgressConfig({ TARGETS }).problems.length, 1));
});
