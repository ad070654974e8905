import { evaluationPod, runPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { cgroupOfSandbox, shareOfProcessor, TIMEOUT_MS, type VmCluster } from './vm-cluster.ts';

const BURN = {
  command: ['/bin/sh', '-c', 'while :; do :; done'],
  resources: { limits: { cpu: '100m' } },
};

/** Memory of a pod with a limit of 128 MiB. */
export const USED_MIB = 300;
const EXCEED_MEMORY = {
  // dd fills its buffer and blocks, because sleep does not read.
  command: ['/bin/sh', '-c', `dd if=/dev/zero bs=${USED_MIB}M | sleep infinity`],
  resources: { limits: { memory: '128Mi' } },
};

/** Starts a pod that wants more CPU than its limit of 100m; returns the cgroup of its sandbox and its CPU share. */
export async function burn(
  vm: VmCluster,
  name: string,
): Promise<{ readonly cgroup: string; readonly share: number }> {
  const pod = evaluationPod(name, { gvisor: true, container: BURN });
  await runPod(vm.cluster, name, pod, TIMEOUT_MS);
  const cgroup = await cgroupOfSandbox(vm, name);
  const share = await shareOfProcessor(vm, cgroup);
  console.log(`${name}: a limit of 0.1 processors, in use ${share.toFixed(2)}, in ${cgroup}`);
  return { cgroup, share };
}

/** Creates a pod that exceeds its memory limit; returns its UID. */
export async function exceedMemory({ cluster }: VmCluster, name: string): Promise<string> {
  const spec = { restartPolicy: 'Never' };
  await cluster.kubectl(
    ['apply', '-f', '-'],
    evaluationPod(name, { gvisor: true, spec, container: EXCEED_MEMORY }),
  );
  return cluster.kubectl(['get', 'pod', name, '-o', 'jsonpath={.metadata.uid}']);
}

/** Waits until the sandbox of a pod exceeds its memory limit; returns its MiB. */
export async function memoryOverLimit(vm: VmCluster, name: string): Promise<number> {
  return waitFor(`the pod ${name} to use ${USED_MIB} MiB`, TIMEOUT_MS, async () => {
    const file = `/sys/fs/cgroup${await cgroupOfSandbox(vm, name)}/memory.current`;
    const mib = Number(await vm.node.system.read(file)) / 2 ** 20;
    return mib >= USED_MIB ? mib : undefined;
  });
}

/** Waits for an OOM kill in a pod; returns the kernel's log line. */
export async function waitForOomKill({ node }: VmCluster, uid: string): Promise<string> {
  const slice = `-pod${uid.replaceAll('-', '_')}.slice`;
  return waitFor(`an OOM kill in the pod ${uid}`, TIMEOUT_MS, async () => {
    const lines = (await node.system.run(['dmesg'])).split('\n');
    return lines.find((line) => line.includes('oom_memcg=/kubepods.slice/') && line.includes(slice));
  });
}

/** Deletes a pod without waiting. */
export async function endPod({ cluster }: VmCluster, name: string): Promise<void> {
  await cluster.kubectl(['delete', 'pod', name, '--wait=false']);
}
