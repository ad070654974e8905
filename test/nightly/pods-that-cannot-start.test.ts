import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import {
  CONTAINERD_CONFIG,
  containerdConfig,
  gvisorConfig,
  gvisorTable,
  RUNSC_CONFIG,
  RUNTIME_TABLE,
} from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { outsideEnv } from '../../cluster/node/outside-agent.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, runAll, waitFor } from '../../hack/run.ts';
import type { HandlerReport, Status } from '../../lib/report/report.ts';
import { podEvents } from '../e2e/agents.ts';
import { deletePods, runtimeClass, useOwnCluster } from '../e2e/e2e-cluster.ts';

const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'current' },
  { name: 'node-2', containerd: '1.7', gvisor: '2025' },
] as const;
const DIRECTORY = '/etc/containerd/unstartable';
const CNI_PLUGINS = '/opt/cni/bin';

type Handler = {
  readonly name: string;
  /** Lines of its table in containerd's configuration. */
  readonly lines?: string;
  /** A line of its runsc.toml. */
  readonly flag?: string;
  /** What the agent says; `undefined` if only a pod shows it, so that it is the canary's to tell. */
  readonly found: `${'blocker' | 'warning'} ${string}` | undefined;
  /** Why its pods do not start; `undefined` if they do. */
  readonly failure: RegExp | undefined;
  readonly containerd?: '2';
};

/** A sandbox boots with each of them. */
const HANDLERS: readonly Handler[] = [
  {
    name: 'streaming',
    lines: 'io_type = "streaming"',
    found: 'blocker PodsCannotStart',
    failure: /address can not be empty/,
    containerd: '2',
  },
  {
    name: 'network',
    lines: `cni_conf_dir = "${DIRECTORY}/cni"\n  cni_max_conf_num = 1`,
    found: 'blocker NetworkNotReady',
    failure: /failed to find plugin "no-such-plugin"/,
  },
  {
    name: 'hook',
    lines: `base_runtime_spec = "${DIRECTORY}/hook.json"`,
    found: 'blocker PodsCannotStart',
    failure: /no-such-hook/,
  },
  {
    name: 'host-root',
    lines: `base_runtime_spec = "${DIRECTORY}/host-root.json"`,
    found: 'blocker IsolationWeakened',
    failure: undefined,
  },
  {
    name: 'xdp',
    flag: 'EXPERIMENTAL-xdp = "ns"',
    found: 'warning IsolationWeakened',
    failure: /XDP|xdp/,
  },
  { name: 'overlay', flag: 'overlay2 = "root:dir=/absent"', found: undefined, failure: /absent/ },
];

const cluster = useOwnCluster('unstartable', NODES, (opened) =>
  Promise.all(opened.nodes().map((node) => install(opened, node))),
);

for (const { name, containerd } of NODES)
  describe(`on ${name}, containerd ${containerd}`, { concurrency: false }, () => {
    const handlers = HANDLERS.filter((handler) => [containerd, undefined].includes(handler.containerd));
    const node = () => cluster().node(name);

    it('the agent finds what containerd loaded, and leaves the rest to the canary', {
      timeout: patient(300_000),
    }, async () => {
      const { handlers: reports = [] } = await evaluateOnce(
        node(),
        handlers.map((each) => each.name),
      );
      assert.deepEqual(
        reports.map((report) => [report.handler, report.proof.kind, worstOf(report)]),
        handlers.map((handler) => [handler.name, 'proven', handler.found]),
      );
    });

    for (const { name: handler, failure } of handlers)
      it(`a pod of the handler "${handler}" ${failure ? 'does not start' : 'starts'}`, {
        timeout: patient(240_000),
      }, async () => {
        const pod = `${handler}-${name}`;
        const spec = { nodeName: name };
        const options = { gvisor: true, runtimeClass: handler, spec };
        await cluster().kubectl(['create', '-f', '-'], evaluationPod(pod, options));
        const why = await waitFor(`${pod} to start or to fail`, 120_000, () => startOf(pod));
        await deletePods(cluster(), pod);
        if (failure === undefined) assert.equal(why, 'started');
        else assert.match(why, failure);
      });

    it('the agent warns if the CNI plugins of all pods are gone', { timeout: patient(240_000) }, async () => {
      await node().system.run(['mount', '-t', 'tmpfs', 'empty', CNI_PLUGINS]);
      try {
        const { findings, verdict } = await evaluateOnce(node(), []);
        const network = findings.find(({ check }) => check === 'network');
        assert.match(
          network?.message ?? '',
          /^No pod gets a network, because the CNI plugin "\S+" is not in/,
        );
        assert.equal(verdict.status, 'True');
      } finally {
        await node().system.run(['umount', CNI_PLUGINS]);
      }
    });
  });

/** Adds the handlers to a node, and a RuntimeClass for each. */
async function install(opened: Cluster, node: ClusterNode): Promise<void> {
  const { spec } = node;
  const table = RUNTIME_TABLE[spec.containerd];
  const tables = HANDLERS.map(({ name, lines = '' }) =>
    gvisorTable(spec)
      .replaceAll(`${table}.containerd.runtimes.runsc`, `${table}.containerd.runtimes.${name}`)
      .replace(RUNSC_CONFIG, `${DIRECTORY}/${name}.toml`)
      .replace(/ {2}runtime_type.*\n/, `$&  ${lines}\n`),
  );
  for (const { name, flag = '' } of HANDLERS)
    await node.write(`${DIRECTORY}/${name}.toml`, `${gvisorConfig(spec)}  ${flag}\n`);
  await node.write(
    `${DIRECTORY}/cni/10-absent.conflist`,
    JSON.stringify({ cniVersion: '1.0.0', name: 'absent', plugins: [{ type: 'no-such-plugin' }] }),
  );
  const base = JSON.parse(await node.ctr(['oci', 'spec'])) as { readonly mounts: readonly object[] };
  const hooks = { createRuntime: [{ path: '/no-such-hook' }] };
  await node.write(`${DIRECTORY}/hook.json`, JSON.stringify({ ...base, hooks }));
  const bind = { type: 'bind', source: '/', destination: '/hostroot', options: ['rbind'] };
  const mounts = [...base.mounts, bind];
  await node.write(`${DIRECTORY}/host-root.json`, JSON.stringify({ ...base, mounts }));
  await node.write(CONTAINERD_CONFIG, containerdConfig(spec, `${gvisorTable(spec)}${tables.join('')}`));
  await node.restart('containerd');
  for (const { name } of HANDLERS) await opened.kubectl(['apply', '-f', '-'], runtimeClass(name, name));
}

async function evaluateOnce(node: ClusterNode, additional: readonly string[]): Promise<Status> {
  const env = { ...outsideEnv(node), HANDLERS: ['runsc', ...additional].join() };
  const args = ['agent/main.ts', '--once', '--json'];
  const options = { cwd: REPO, timeoutMs: 200_000, env };
  const { stdout, stderr } = await runAll(process.execPath, args, options);
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Status;
}

/** The worst failure that is not of this cluster's other files, such as "blocker NetworkNotReady". */
function worstOf({ findings }: HandlerReport): string | undefined {
  const failures = findings.flatMap((finding) =>
    finding.status === 'fail' && ['isolation', 'containers', 'network'].includes(finding.check)
      ? [`${finding.severity} ${finding.reason}`]
      : [],
  );
  return failures.sort()[0];
}

/** "started", or what the kubelet says of its failure; undefined before either. */
async function startOf(pod: string): Promise<string | undefined> {
  const { status } = JSON.parse(await cluster().get(`/api/v1/namespaces/default/pods/${pod}`)) as V1Pod;
  const [container] = status?.containerStatuses ?? [];
  if (container?.state?.running !== undefined) return 'started';
  const { message = '' } = container?.state?.waiting ?? {};
  const { message: last = '' } = container?.lastState?.terminated ?? container?.state?.terminated ?? {};
  const [event = ''] = await podEvents(cluster(), 'default', pod, 'FailedCreatePodSandBox');
  return [message, last, event].filter((text) => text !== '').join('; ') || undefined;
}
