import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { V1Pod } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { waitFor } from '../../hack/run.ts';
import type { FeatureId } from '../../lib/pod/features.ts';

/** Directory of the program that pod-probes.c becomes, on the node and in the pod. */
export const PROBES = '/opt/pod-probes';
/** A seccomp profile that refuses mkdir, below the kubelet's directory of profiles. */
export const NO_MKDIR = 'no-mkdir.json';
/** The size in bytes of a segment of shared memory that each node has. */
export const SHARED_BYTES = 12_345;

/**
 * A pod that asks for a feature. Its script fails if it is refused, and else prints one line; so does `observe`, while the
 * script runs, or a line that begins with "refused: ".
 */
export type FeatureCase = {
  readonly spec?: object;
  readonly container?: object;
  readonly script: string;
  readonly observe?: (pod: RunningPod) => Promise<string>;
  /** The line if the feature works, and if it does less or more than that; any other means that it is ignored. */
  readonly works: RegExp;
  readonly weaker?: RegExp;
};

export type RunningPod = {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly name: string;
};

const FOREVER = 'exec sleep infinity';
const probe = (words: string) => `${PROBES}/probe ${words}`;
const volume = (source: object, mount: object = {}) => ({
  spec: { volumes: [{ name: 'v', ...source }] },
  container: { volumeMounts: [{ name: 'v', mountPath: '/v', ...mount }] },
});
const PROGRAM = volume({ hostPath: { path: PROBES } }, { mountPath: PROBES, readOnly: true });
const capable = (...add: readonly string[]) => ({
  spec: PROGRAM.spec,
  container: { ...PROGRAM.container, securityContext: { capabilities: { add } } },
});
/** Whether a line of a file matches a pattern of the shell; the image has no grep. */
const finds = (pattern: string, file: string) =>
  `while read -r line; do case "$line" in ${pattern}) echo found; exit;; esac; done < ${file}; echo absent`;
const FOUND = /^found$/;
const GRANTED = /^granted$/;

/** One case for each row of the table. */
export const CASES: Readonly<Record<FeatureId, FeatureCase>> = {
  userNamespace: {
    spec: { hostUsers: false },
    container: { securityContext: { procMount: 'Unmasked' } },
    script: 'cat /proc/self/uid_map',
    works: /^0 [1-9]/,
  },
  recursiveReadOnly: {
    ...volume({ emptyDir: {} }, { readOnly: true, recursiveReadOnly: 'Enabled' }),
    script: 'touch /v/file 2>/dev/null && echo writable || echo read-only',
    works: /^read-only$/,
  },
  bidirectional: {
    spec: { volumes: [{ name: 'v', emptyDir: {} }] },
    container: {
      securityContext: { privileged: true },
      volumeMounts: [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional' }],
    },
    script: finds("*' /v '*shared:*", '/proc/self/mountinfo'),
    works: FOUND,
  },
  sysctls: {
    spec: { securityContext: { sysctls: [{ name: 'net.ipv4.ip_local_port_range', value: '30000 31000' }] } },
    script: 'cat /proc/sys/net/ipv4/ip_local_port_range',
    works: /^30000 31000$/,
  },
  seccompProfile: {
    container: { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: NO_MKDIR } } },
    script: 'mkdir /tmp/made 2>/dev/null && echo made || echo prevented',
    works: /^prevented$/,
  },
  imageVolume: {
    ...volume({ image: { reference: imageName('workload'), pullPolicy: 'Never' } }),
    script: finds('evaluation:*', '/v/etc/passwd'),
    works: FOUND,
  },
  hostPID: {
    spec: { hostPID: true },
    script:
      'for file in /proc/[0-9]*/comm; do read -r name < $file; [ "$name" = containerd ] && echo found && exit; done; echo absent',
    works: FOUND,
  },
  hostIPC: {
    spec: { hostIPC: true },
    script: finds(`*' ${SHARED_BYTES} '*`, '/proc/sysvipc/shm'),
    works: FOUND,
  },
  hostNetwork: {
    spec: { hostNetwork: true },
    script: finds('*cni0:*', '/proc/net/dev'),
    works: FOUND,
  },
  hostSocket: {
    spec: { volumes: [...PROGRAM.spec.volumes, { name: 'run', hostPath: { path: '/run/containerd' } }] },
    container: {
      volumeMounts: [...PROGRAM.container.volumeMounts, { name: 'run', mountPath: '/run/host' }],
    },
    script: probe('unix-socket /run/host/containerd.sock'),
    works: GRANTED,
  },
  privileged: {
    spec: PROGRAM.spec,
    container: { ...PROGRAM.container, securityContext: { privileged: true } },
    script: `(: < /dev/kmsg) 2>/dev/null && echo devices || ${probe('overlay')}`,
    works: /^devices$/,
    weaker: GRANTED,
  },
  rawSocket: { ...capable('NET_RAW'), script: probe('raw-socket'), works: GRANTED },
  iptables: { ...capable('NET_ADMIN', 'NET_RAW'), script: probe('nat-table'), works: GRANTED },
  nestedContainers: { ...capable('SYS_ADMIN'), script: probe('overlay'), works: GRANTED },
  ptrace: { ...capable('SYS_PTRACE'), script: probe('trace'), works: GRANTED },
  ioUring: { ...PROGRAM, script: probe('io-uring'), works: GRANTED },
  sharedProcesses: {
    spec: { shareProcessNamespace: true },
    script: 'echo $$$$', // the kubelet takes two for one
    works: /^(?!1$)\d+$/,
  },
  memoryLimit: {
    spec: {
      containers: ['evaluation', 'greedy'].map((name) => ({
        name,
        image: imageName('workload'),
        imagePullPolicy: 'Never',
        resources: { limits: { memory: '64Mi', cpu: '500m' } },
        command: ['sh', '-c', name === 'greedy' ? 'dd if=/dev/zero of=/dev/null bs=200M count=1' : FOREVER],
      })),
    },
    script: '',
    observe: async (pod) => {
      const states = await waitFor('the greedy container to end', 60_000, async () => {
        const { containerStatuses = [] } = (await readPod(pod)).status ?? {};
        const greedy = containerStatuses.find(({ name }) => name === 'greedy');
        return greedy?.state?.terminated !== undefined && containerStatuses;
      });
      const reasons = states.map(({ state }) => state?.terminated?.reason ?? 'runs');
      return reasons.join(' ');
    },
    works: /^runs OOMKilled$/,
    weaker: /^[A-Z]\w+ OOMKilled$/,
  },
  portForward: {
    ...PROGRAM,
    script: probe('serve'),
    observe: forwarded,
    works: /^hello$/,
  },
  ephemeralContainer: {
    script: FOREVER,
    observe: async (pod) => {
      const debug = { name: 'debug', image: imageName('workload'), command: ['sh', '-c', 'exit 7'] };
      const patch = JSON.stringify({ spec: { ephemeralContainers: [debug] } });
      const { cluster, namespace, name } = pod;
      await cluster.kubectl([
        'patch',
        'pod',
        name,
        '-n',
        namespace,
        '--subresource=ephemeralcontainers',
        '-p',
        patch,
      ]);
      const end = await waitFor('the ephemeral container to end', 60_000, async () => {
        const [status] = (await readPod(pod)).status?.ephemeralContainerStatuses ?? [];
        return status?.state?.terminated;
      });
      return `exit ${end.exitCode}`;
    },
    works: /^exit 7$/,
  },
};

export async function readPod({ cluster, namespace, name }: RunningPod): Promise<V1Pod> {
  return JSON.parse(await cluster.get(`/api/v1/namespaces/${namespace}/pods/${name}`)) as V1Pod;
}

/** The answer of port 8080 of a pod over kubectl port-forward, or why there is none. */
async function forwarded({ cluster, namespace, name }: RunningPod): Promise<string> {
  const { command, args } = cluster.kubectlCommand(['port-forward', '-n', namespace, `pod/${name}`, ':8080']);
  const forward = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  forward.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  try {
    const [line = ''] = (await once(createInterface({ input: forward.stdout }), 'line')) as [string?];
    return await waitFor('an answer', 5_000, async () => {
      const answer = await text(connect(Number(/:(\d+) ->/.exec(line)?.[1]), '127.0.0.1'));
      return answer.trim() || (errors === '' ? undefined : `refused: ${errors}`);
    }).catch((error: Error) => `refused: ${error.message}`);
  } finally {
    forward.kill();
  }
}
