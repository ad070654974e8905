import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until, useAdmission } from './admission-cluster.ts';
import { addEphemeral, annotate, container, create, FLAG, type PodPart, pod } from './admission-objects.ts';
import { existing, mirrorPod, podsAreRefused, table } from './admission-table.ts';
import type { Call } from './api-user.ts';

const admission = useAdmission(['enforce'], podsAreRefused);

/** Creates a pod that is allowed, and gives its path. */
const existingPod = (part?: PodPart, namespace = 'strict') =>
  existing(admission(), create(namespace, pod(part)));
const ungated = { schedulingGates: undefined };
const binding = (name: string, annotations = {}) => ({
  apiVersion: 'v1',
  kind: 'Binding',
  metadata: { name, annotations },
  target: { kind: 'Node', name: 'node-9' },
});
const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);
describe('a pod that exists there', () => {
  table(admission, [
    [
      'is given a flag for runsc',
      async () => annotate(await existingPod(), { [FLAG]: 'host' }),
      /metadata\.annotations has dev\.gvisor\.flag\.network/,
    ],
    [
      'is given a flag through its status',
      async () => annotate(`${await existingPod()}/status`, { [FLAG]: 'host' }),
      /metadata\.annotations has dev\.gvisor\.flag\.network/,
    ],
    [
      'is given a flag through its Binding',
      async () => {
        const path = await existingPod({ spec: ungated });
        return { method: 'POST', path: `${path}/binding`, body: binding(nameOf(path), { [FLAG]: 'host' }) };
      },
      /this Binding would break that: metadata\.annotations has dev\.gvisor\.flag\.network/,
    ],
    [
      'is given a flag through a Binding of the old kind',
      async () => create('strict', binding(nameOf(await existingPod({ spec: ungated })), { [FLAG]: 'host' })),
      /this Binding would break that/,
    ],
    [
      'is bound as the scheduler does it',
      async () => {
        const path = await existingPod({ spec: ungated });
        return { method: 'POST', path: `${path}/binding`, body: binding(nameOf(path)) };
      },
    ],
    ['is given another annotation', async () => annotate(await existingPod(), { a: 'b' })],
    [
      'is given a status',
      async () => ({ ...annotate(`${await existingPod()}/status`, {}), body: { status: { message: 'x' } } }),
    ],
    [
      'is resized',
      async () => ({
        method: 'PATCH',
        path: `${await existingPod({ spec: container({ resources: { requests: { cpu: '1m' } } }) })}/resize`,
        patch: 'strategic-merge-patch+json',
        body: { spec: { containers: [{ name: 'main', resources: { requests: { cpu: '2m' } } }] } },
      }),
    ],
    [
      'is given an ephemeral container, which is not refused by default',
      async () => addEphemeral(await existingPod()),
    ],
    ['is deleted', async () => ({ method: 'DELETE', path: await existingPod() })],
  ]);

  it('and was there before the label: its status is written, and its flag stays as it is', async () => {
    const path = await existingPod({ annotations: { [FLAG]: 'host' } }, 'free');
    const label = (value: string | null): Call => ({
      method: 'PATCH',
      path: '/api/v1/namespaces/free',
      body: { metadata: { labels: { 'require-gvisor': value } } },
    });
    assert.equal((await admission().as('admin', label('true'))).code, 200);
    const flag = (value: string) =>
      admission().as('admin', annotate(`${path}?dryRun=All`, { [FLAG]: value }));
    await until(
      'the label to be in force',
      () => flag('other'),
      ({ code }) => code === 403,
    );
    const written = { ...annotate(`${path}/status`, {}), body: { status: { message: 'written' } } };
    assert.equal((await admission().as('admin', written)).code, 200);
    assert.equal((await admission().as('admin', label(null))).code, 200);
  });
});

describe('mirror pods', () => {
  table(admission, [
    [
      "the kubelet's own, of a static pod",
      async () => create('strict', await mirrorPod(admission())),
      undefined,
      'kubelet',
    ],
    [
      'the same from anybody else',
      async () =>
        create('strict', {
          ...(await mirrorPod(admission())),
          metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'x' } },
        }),
      /is not set: write runtimeClassName: gvisor; spec\.nodeName is "node-9"/,
      'dispatcher',
    ],
  ]);
});

describe('other namespaces', () => {
  const plain = pod({ spec: { runtimeClassName: undefined }, annotations: { [FLAG]: 'x' } });
  table(admission, [
    ['without the label: everything', create('free', plain)],
    ['with require-gvisor: "false": everything', create('declined', plain)],
  ]);

  it('with require-gvisor: audit: everything, with a warning', async () => {
    const { code, warnings } = await admission().as('admin', create('audited', plain));
    assert.equal(code, 201);
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0] ?? '',
      /the namespace "audited" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor; metadata\.annotations has dev\.gvisor\.flag\.network/,
    );
  });
});
