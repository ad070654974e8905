import { quotedProgram } from '../host/process.ts';
import { sentryFlags } from '../runsc/sentry.ts';

/** A pod that runs on this node, and what it runs in. */
export type Pod = {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The CRI handler that its runtime class names; "" is containerd's default. */
  readonly handler: string;
  /** Whether it runs in gVisor; absent when that could not be told. */
  readonly sandboxed?: boolean;
  /** Whether the sandbox of a gVisor pod is in the kubelet's cgroup for it; absent where that is not known. */
  readonly limited?: boolean;
  /** What that is known from, such as `process 812 is "pause"`. */
  readonly evidence: string;
};

/** What is known of a sandbox: its runtime type, and its first process when that could be read. */
export type SandboxFacts = {
  readonly runtimeType: string;
  readonly pid?: number | undefined;
  readonly argv?: readonly string[] | undefined;
  /** What the runtime answers when it is asked for the PIDs in the sandbox, where it was asked. */
  readonly runtimePids?: readonly number[];
};

const GVISOR_TYPE = /(^|\.)runsc\./;

/**
 * Whether the first process of a sandbox calls itself gVisor's where its runtime is another. On a node that lets processes
 * trace each other, a container that shares its pod's PID namespace can rewrite the arguments of that process; what
 * the runtime answers is out of its reach.
 */
export function isDoubtful({ runtimeType, argv }: SandboxFacts): boolean {
  return argv !== undefined && sentryFlags(argv) !== undefined && !GVISOR_TYPE.test(runtimeType);
}

/**
 * Whether a sandbox is gVisor's. Its process decides, because the handler's name, and even its runtime type, may
 * lead to a runtime in disguise; the type speaks only where no process could be looked at.
 */
export function judgeSandbox({
  runtimeType,
  pid,
  argv,
  runtimePids = [],
}: SandboxFacts): Pick<Pod, 'sandboxed' | 'evidence'> {
  const [program = ''] = argv ?? [];
  if (argv !== undefined && program !== '') {
    const evidence = `process ${pid} is ${quotedProgram(argv)}`;
    if (pid !== undefined && runtimePids.includes(pid))
      return { sandboxed: false, evidence: `${evidence}, and the runtime tells the host's own PID ${pid}` };
    return { sandboxed: sentryFlags(argv) !== undefined, evidence };
  }
  if (/(^|\.)runc\./.test(runtimeType))
    return { sandboxed: false, evidence: `its runtime is ${runtimeType}` };
  if (GVISOR_TYPE.test(runtimeType)) return { sandboxed: true, evidence: `its runtime is ${runtimeType}` };
  return { evidence: `nothing tells what its runtime "${runtimeType}" is` };
}
