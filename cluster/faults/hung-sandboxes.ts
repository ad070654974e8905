import { basename } from 'node:path';
import { UsageError } from '../../hack/run.ts';
import { isShim } from '../node/dead-shims.ts';
import { type ClusterNode, SHIM } from '../node/node.ts';

const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';
/** Files of a bundle with PIDs. */
const PID_FILES = { shim: 'shim.pid', sentry: 'init.pid' } as const;

/** SIGSTOP. Throws a UsageError if there are no gVisor pods. */
export async function stopInPods(node: ClusterNode, part: keyof typeof PID_FILES): Promise<void> {
  const script = `cd ${BUNDLES} 2>/dev/null || exit 0
for bundle in *; do
  case "$(cat "$bundle/shim-binary-path")" in */${basename(SHIM)}) ;; *) continue ;; esac
  grep -q '"io.kubernetes.cri.sandbox-name":"gvisor-probe-' "$bundle/config.json" && continue
  pid=$(cat "$bundle/${PID_FILES[part]}") && kill -STOP "$pid" && echo "$pid"
done 2>/dev/null
exit 0`;
  if ((await node.system.run(['/bin/sh', '-c', script])) !== '') return;
  throw new UsageError(`No gVisor pod runs on ${node.name}: start one there first.`);
}

export async function continueSandboxes(node: ClusterNode): Promise<void> {
  const stopped = await node.system.run([
    '/bin/sh',
    '-c',
    "grep -ls '^State:.T' /proc/[0-9]*/status; exit 0",
  ]);
  const pids = (await node.system.processes())
    .filter(({ pid, argv }) => {
      const isStopped = stopped.includes(`/proc/${pid}/status`);
      return isStopped && (isShim(argv) || argv[0] === 'runsc-sandbox');
    })
    .map(({ pid }) => pid);
  if (pids.length > 0) await node.system.kill('CONT', pids);
}
