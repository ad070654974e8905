import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runAll, waitFor } from '../../hack/run.ts';
import { type UserName, until, useAdmission } from './admission-cluster.ts';
import { create, FLAG, type PodPart, WORKLOADS, type Workload, workload } from './admission-objects.ts';
import { assertAccepted, existing, podsAreRefused } from './admission-table.ts';
import type { Call } from './api-user.ts';

const admission = useAdmission(['enforce'], async (ready) => {
  await podsAreRefused(ready);
  const plain = create('strict', workload('Deployment', unset), 'dryRun=All');
  await until(
    'templates to be warned of',
    () => ready.as('admin', plain),
    ({ warnings }) => warnings.length === 1,
  );
});
const unset: PodPart = { spec: { runtimeClassName: undefined } };

/** Asserts that a call is accepted with one warning, which says why. */
async function assertWarned(call: Call, why: RegExp, user: UserName = 'admin'): Promise<void> {
  const { code, message, warnings } = await admission().as(user, call);
  assert.ok(code < 300, `${code} ${message}`);
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.match(warnings[0] ?? '', why);
}

describe('workloads where gVisor is required', () => {
  for (const kind of Object.keys(WORKLOADS) as Workload[]) {
    const path = WORKLOADS[kind].path.replaceAll('.', '\\.');
    it(`${kind} without the runtime class: created, with a warning`, () =>
      assertWarned(
        create('strict', workload(kind, unset)),
        new RegExp(
          `the namespace "strict" requires gVisor, and the pods of this ${kind} would break that: ${path}spec\\.runtimeClassName is not set: write runtimeClassName: gvisor$`,
        ),
        'dispatcher',
      ));

    it(`${kind} with the runtime class: created in silence`, async () => {
      assertAccepted(await admission().as('dispatcher', create('strict', workload(kind))));
    });
  }
});

describe('a template', () => {
  const dry = (kind: Workload, part: PodPart, namespace = 'strict') =>
    create(namespace, workload(kind, part), 'dryRun=All');

  it('that names a node: warned of', () =>
    assertWarned(
      dry('DaemonSet', { spec: { nodeName: 'n' } }),
      /spec\.template\.spec\.nodeName is "n", which goes past/,
    ));

  it('with a flag for runsc: warned of', () =>
    assertWarned(
      dry('CronJob', { annotations: { [FLAG]: 'x' } }),
      /spec\.jobTemplate\.spec\.template\.metadata\.annotations has dev\.gvisor\.flag\.network/,
    ));

  it('with all problems at once: one warning', () =>
    assertWarned(
      dry('Deployment', { spec: { runtimeClassName: 'x', nodeName: 'n' }, annotations: { [FLAG]: 'x' } }),
      /runtimeClassName is "x": .*; spec\.template\.spec\.nodeName is "n".*; spec\.template\.metadata\.annotations has/,
    ));

  it('that a later write makes wrong: warned of', async () => {
    const path = await existing(admission(), create('strict', workload('Deployment')));
    const body = { spec: { template: { spec: { runtimeClassName: null } } } };
    await assertWarned({ method: 'PATCH', path, body }, /runtimeClassName is not set/);
  });

  it('where only audit is asked: warned of', () =>
    assertWarned(dry('Deployment', unset, 'audited'), /the namespace "audited" requires gVisor/));

  it('where nothing is required: accepted in silence', async () => {
    assertAccepted(await admission().as('admin', dry('Deployment', unset, 'free')));
  });

  it('of a ReplicaSet that a Deployment made: accepted in silence', async () => {
    const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd', uid: 'u', controller: true };
    const made = workload('ReplicaSet', unset, 'made') as { readonly metadata: object };
    const body = { ...made, metadata: { ...made.metadata, ownerReferences: [owner] } };
    assertAccepted(await admission().as('admin', create('strict', body, 'dryRun=All')));
  });
});

describe('a Deployment without the runtime class', () => {
  const kubectl = (...args: string[]) => admission().cluster.kubectl(['-n', 'strict', ...args]);

  it('is warned of by kubectl, and its ReplicaSet says why there are no pods', async () => {
    const { command, args } = admission().cluster.kubectlCommand(['-n', 'strict', 'create', '-f', '-']);
    const { code, stderr } = await runAll(command, args, {
      input: JSON.stringify(workload('Deployment', unset, 'web')),
    });
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^Warning: .*spec\.template\.spec\.runtimeClassName is not set: write runtimeClassName: gvisor\n$/,
    );
    const said = await waitFor('the event of the ReplicaSet', 30_000, async () => {
      const path = 'jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\\n"}{end}';
      const events = await kubectl('get', 'events', '--field-selector=reason=FailedCreate', '-o', path);
      return events.split('\n').find((line) => /^web-\w+ /.test(line));
    });
    assert.match(
      said,
      /^web-\w+ Error creating: pods "web-\w+-\w+" is forbidden: .*the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
    );
    assert.equal(
      await kubectl(
        'get',
        'pods',
        '-l',
        'app=case',
        '-o',
        'jsonpath={.items[?(@.spec.runtimeClassName!="gvisor")].metadata.name}',
      ),
      '',
    );
  });

  it('gets its pods once it names the runtime class', async () => {
    const patch = { spec: { template: { spec: { runtimeClassName: 'gvisor' } } } };
    await kubectl('patch', 'deployment', 'web', '-p', JSON.stringify(patch));
    await waitFor('a pod of the Deployment', 30_000, async () =>
      (await kubectl('get', 'deployment', 'web', '-o', 'jsonpath={.status.updatedReplicas}')) === '1'
        ? true
        : undefined,
    );
  });
});
