import assert from 'node:assert/strict';
import { accepted, assertAccepted, type Case, type Group, refused, runCases } from './admission-case.ts';
import { classMessage } from './admission-class-cases.ts';
import type { Admission } from './admission-cluster.ts';
import { podPath } from './admission-fixture.ts';
import { label } from './admission-namespace-cases.ts';
import {
  CLAIM,
  container,
  createPod,
  createRuntimeClass,
  hostPath,
  PLAIN,
  patch,
  podOf,
  privileged,
  remove,
  strategicPatch,
} from './admission-objects.ts';
import { waitForPolicies } from './wait-for-policies.ts';

const ENFORCE = 'gvisor-ready-enforce';
const pathOf = (policy: string) =>
  `/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/${policy}`;
type Variable = { readonly name: string; readonly expression: string };
type Policy = { readonly spec: { readonly variables: readonly Variable[] } };

/** Sets the expression of a variable of a policy; returns the response and the previous expression. */
async function setVariable({ as }: Admission, policy: string, name: string, expression: string) {
  const { body } = await as('admin', { method: 'GET', path: pathOf(policy) });
  const { variables } = (body as Policy).spec;
  const was = variables.find((variable) => variable.name === name)?.expression;
  assert.ok(was !== undefined, `"${policy}" has no variable "${name}"`);
  const changed = variables.map((one) => (one.name === name ? { name, expression } : one));
  const response = await as('admin', patch(pathOf(policy), { spec: { variables: changed } }));
  return { response, was };
}

/** Runs cases while a variable of a policy has another expression. */
export function whileSet(
  [policy, name, expression]: readonly [policy: string, name: string, expression: string],
  cases: readonly Case[],
): Case {
  return {
    what: `with ${name}: ${expression}`,
    exclusive: true,
    run: async (admission) => {
      const { response, was } = await setVariable(admission, policy, name, expression);
      assertAccepted(response);
      try {
        await waitForPolicies(admission);
        await runCases(admission, cases);
      } finally {
        await setVariable(admission, policy, name, was);
        await waitForPolicies(admission);
      }
    },
  };
}

/** An expression that the API server rejects. */
const rejected = (name: string, expression: string): Case => ({
  what: `${name}: ${expression} is rejected, and the policy stays`,
  exclusive: true,
  run: async (admission) => {
    const { response, was } = await setVariable(admission, ENFORCE, name, expression);
    if (response.code < 300) await setVariable(admission, ENFORCE, name, was);
    assert.equal(response.code, 422, response.message);
    assert.match(response.message, /compilation failed/);
  },
});

const status = patch(`${podPath('old-plain')}/status`, { status: { message: 'x' } });
const onPort = (containerPort: number, hostPort?: number) => ({ containerPort, hostPort });
const portsOf = (...ports: readonly object[]) => createPod({ spec: container({ ports }) });
const probe = { livenessProbe: { httpGet: { port: 80, host: '10.0.0.1' } } };
const nfs = { name: 'nfs', nfs: { server: 'a', path: '/' } };
const git = { name: 'git', gitRepo: { repository: 'https://example.com' } };
const relaxed = createPod({
  spec: { ...hostPath, ...CLAIM, ...container(privileged), hostPID: true, hostNetwork: true, hostIPC: true },
});
/** One kind of access to the host, and what is still refused of `relaxed` if it is allowed. */
const ALLOWED: readonly (readonly [name: string, spec: Readonly<Record<string, unknown>>, others: RegExp])[] =
  [
    ['hostPath', hostPath, /hostIPC.*; privileged is/],
    ['privileged', container(privileged), /volumes of/],
    ['hostPID', { hostPID: true }, /hostNetwork, hostIPC:/],
    ['resourceClaims', CLAIM, /PersistentVolumeClaim; privileged is/],
  ];

const SETTINGS: readonly Case[] = [
  whileSet(
    [ENFORCE, 'runtimeClassNames', "['gvisor', 'gvisor-gpu']"],
    [
      ...accepted('admin', {
        'a pod with the first class': createPod(),
        'a pod with the second class': podOf('gvisor-gpu'),
      }),
      ...refused('admin', {
        'a pod without a runtime class': [
          createPod(PLAIN),
          /write runtimeClassName: gvisor \(or: gvisor-gpu\)$/,
        ],
      }),
      ...refused('operator', {
        'to recreate the second': [createRuntimeClass('gvisor-gpu', 'runc'), classMessage('gvisor-gpu')],
      }),
    ],
  ),
  whileSet(
    [ENFORCE, 'runtimeClassNames', '[]'],
    [
      ...refused('admin', { 'a gVisor pod': [createPod(), /runtimeClassName is "gvisor": write/] }),
      ...accepted('admin', { 'a status': status }),
    ],
  ),
  ...ALLOWED.map(([name, spec, others]) =>
    whileSet(
      [ENFORCE, 'allow', `['${name}']`],
      [
        ...refused('admin', { everything: [relaxed, others] }),
        ...accepted('admin', { [name]: createPod({ spec }) }),
      ],
    ),
  ),
  whileSet(
    [
      ENFORCE,
      'allow',
      "['hostNetwork', 'hostPID', 'hostIPC', 'probeHost', 'privileged', 'resourceClaims', 'hostPath', 'nfs']",
    ],
    [
      ...accepted('admin', {
        everything: relaxed,
        "ports with the host's network": createPod({
          spec: { hostNetwork: true, ...container({ ports: [onPort(80)] }) },
        }),
        'a probe of a host': createPod({ spec: container(probe) }),
        'an allowed volume': createPod({ spec: { volumes: [nfs] } }),
      }),
      ...refused('admin', {
        'a hostPort': [portsOf(onPort(81, 81)), /hostPort is not allowed here/],
        'another volume': [createPod({ spec: { volumes: [nfs, git] } }), /not allowed here: git;/],
        'a pod with spec.nodeName': [
          createPod({ spec: { schedulingGates: undefined, nodeName: 'n' } }),
          /spec\.nodeName is "n"/,
        ],
      }),
    ],
  ),
  whileSet(
    [ENFORCE, 'allow', "['hostpath', 'all']"],
    refused('admin', { 'a misspelt name, which allows nothing:': [relaxed, /volumes of/] }),
  ),
  whileSet(
    [ENFORCE, 'hostPorts', '[8080, 9090]'],
    [
      ...accepted('admin', { 'both ports': portsOf(onPort(1, 8080), onPort(2, 9090)) }),
      ...refused('admin', {
        'another beside an allowed one': [
          portsOf(onPort(1, 8080), onPort(2, 8081)),
          /hostPort is not allowed here, and the containers main have it/,
        ],
      }),
    ],
  ),
  rejected('hostPorts', '8080'),
  rejected('runtimeClassNames', 'gvisor'),
  rejected('runtimeClassNames', "'gvisor'"),
  rejected('allow', "'hostPath'"),
];

const FAILS = '[string(1 / 0)]';
const ERROR = /resulted in error: .*division by zero/;
const FAIL_CLOSED: readonly Case[] = [
  whileSet(
    [ENFORCE, 'runtimeClassNames', FAILS],
    [
      ...refused('admin', { 'a gVisor pod': [createPod(), ERROR] }, 422),
      ...refused('operator', { 'a RuntimeClass': [createRuntimeClass('other', 'runc'), ERROR] }, 422),
      ...accepted('admin', {
        'the status of a running pod': status,
        'the deletion of a running pod': remove(podPath('old-plain')),
      }),
    ],
  ),
  whileSet(
    [ENFORCE, 'allow', FAILS],
    [
      ...refused('admin', { 'a pod on the host': [relaxed, ERROR] }, 422),
      ...accepted('admin', {
        'an image of a gVisor pod': strategicPatch(podPath('gated'), {
          spec: { containers: [{ name: 'main', image: 'localhost/other' }] },
        }),
        'the status of a running pod': status,
      }),
    ],
  ),
  whileSet(
    ['gvisor-ready-guard-namespace', 'isOfTheSystem', '1 / 0 == 0'],
    refused('operator', { 'to remove the label': [label('strict', null), ERROR] }, 422),
  ),
];

export const SETTING_GROUPS: readonly Group[] = [
  { title: 'settings', cases: SETTINGS },
  { title: 'a failing policy denies writes, except deletions and status updates', cases: FAIL_CLOSED },
];
