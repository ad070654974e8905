import { randomUUID } from 'node:crypto';
import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';
import { codecOf } from '../lib/node/containerd/client.ts';
import { message, repeated, withService } from '../lib/node/containerd/schema.ts';
import { parseCgroups, podUidOf } from '../lib/node/host/process.ts';
import { outcomeOfError } from '../lib/node/proof/outcome.ts';
import { sentryFlags } from '../lib/node/runsc/flags.ts';
import { listPids } from './generations.ts';
import { Refusal } from './node.ts';
import type { Generation } from './release.ts';

/** containerd's namespace of the candidate's container, which the CRI and so the kubelet does not see. */
const NAMESPACE = 'gvisor-ready';
/** A boot takes 0.3 s on an idle node; a busy one may take a hundred times as long. */
const BOOT_MS = 60_000;
const CALL_MS = 20_000;
const OUTPUT_POLLS = 100;
const OUTPUT_POLL_MS = 50;

const NOTHING = message({});
const containersV1 = {
  CreateRequest: message({ container: [1, 'Container'] }),
  CreateResponse: NOTHING,
  Container: message({ id: [1, 'string'], runtime: [4, 'Runtime'], spec: [5, 'Any'] }),
  Runtime: message({ name: [1, 'string'], options: [2, 'Any'] }),
  Any: message({ typeUrl: [1, 'string'], value: [2, 'bytes'] }),
  ListRequest: NOTHING,
  ListResponse: message({ containers: [1, repeated('Container')] }),
  DeleteRequest: message({ id: [1, 'string'] }),
  DeleteResponse: NOTHING,
};
const tasksV1 = {
  CreateRequest: message({
    containerId: [1, 'string'],
    stdout: [5, 'string'],
    stderr: [6, 'string'],
    runtimePath: [10, 'string'],
  }),
  CreateResponse: message({ pid: [2, 'uint32'] }),
  StartRequest: message({ containerId: [1, 'string'] }),
  StartResponse: NOTHING,
  WaitRequest: message({ containerId: [1, 'string'] }),
  WaitResponse: message({ exitStatus: [1, 'uint32'] }),
  KillRequest: message({ containerId: [1, 'string'], signal: [3, 'uint32'], all: [4, 'bool'] }),
  KillResponse: NOTHING,
  DeleteRequest: message({ containerId: [1, 'string'] }),
  DeleteResponse: NOTHING,
  Any: message({ typeUrl: [1, 'string'], value: [2, 'bytes'] }),
};
const optionsV1 = { Options: message({ typeUrl: [1, 'string'], configPath: [2, 'string'] }) };

/** https://github.com/containerd/containerd/tree/v2.4.2/api/services and api/types/runtimeoptions/v1 */
export const SCHEMA = new protobuf.Root();
SCHEMA.define('containerd.services.containers.v1', withService('Containers', containersV1));
SCHEMA.define('containerd.services.tasks.v1', withService('Tasks', tasksV1));
SCHEMA.define('runtimeoptions.v1', optionsV1);
SCHEMA.resolveAll();

export type CandidateProof = { readonly bootMs: number; readonly pid: number };

/**
 * Boots a sandbox of a generation through containerd's own API, beside the CRI: no handler is touched, and containerd does
 * not restart. The generation's directory is the sandbox's read-only root, and its program is the generation's own
 * `runsc --version`, run by the generation's sentry. Throws a {@link Refusal} if it does not boot or does not run.
 */
export async function proveCandidate(
  socket: string,
  { root, generation }: { readonly root: string; readonly generation: Generation },
): Promise<CandidateProof> {
  const id = `gvisor-ready-${randomUUID().slice(0, 8)}`;
  using containerd = new ContainerdApi(socket);
  const options = {
    typeUrl: 'runtimeoptions.v1.Options',
    value: encode('runtimeoptions.v1.Options', {
      typeUrl: 'io.containerd.runsc.v1.options',
      configPath: generation.config,
    }),
  };
  const spec = {
    typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
    value: Buffer.from(JSON.stringify(specOf(id, generation, await usesSystemd(root, generation)))),
  };
  const output = `/run/${id}.out`;
  try {
    await writeFile(join(root, output), '');
    const container = { id, runtime: { name: generation.shim, options }, spec };
    await containerd.call('Containers.Create', { container });
    const startedMs = performance.now();
    const { pid } = await containerd.call<{ pid: number }>(
      'Tasks.Create',
      { containerId: id, stdout: output, stderr: output, runtimePath: generation.shim },
      BOOT_MS,
    );
    const bootMs = performance.now() - startedMs;
    await inspectSentry(root, pid);
    const ended = containerd.call<{ exitStatus: number }>('Tasks.Wait', { containerId: id }, BOOT_MS);
    ended.catch(() => {});
    await containerd.call('Tasks.Start', { containerId: id }, BOOT_MS);
    const { exitStatus } = await ended;
    await requireOutput(join(root, output), exitStatus);
    return { bootMs, pid };
  } catch (cause) {
    const seen = cause instanceof Error ? cause.message : String(cause);
    const isLate = seen.includes('Deadline exceeded');
    const text = isLate ? `it hangs, and did not boot within ${BOOT_MS / 1_000} s (${seen})` : seen;
    const { reason } = isLate ? { reason: 'SandboxHangs' } : (outcomeOfError(text) as { reason?: string });
    const what = `gVisor ${generation.release} does not boot here, so nothing was changed: ${text}`;
    const next = 'Install another release, or repair what this names';
    throw new Refusal('pre-prove', `${what}. ${next}`, { cause, reason });
  } finally {
    await removeCandidates(containerd, root);
    await rm(join(root, output), { force: true });
  }
}

/**
 * The text of the program in the sandbox, which the shim copies until the program ends and a moment longer. Its exit status
 * does not count: where the sentry ends before the shim waits for it, the shim reports 128.
 */
async function requireOutput(file: string, exitStatus: number): Promise<void> {
  for (let poll = 0; poll < OUTPUT_POLLS; poll++) {
    if (/^runsc version /m.test(await readFile(file, 'utf8'))) return;
    await timers.setTimeout(OUTPUT_POLL_MS);
  }
  const seen = JSON.stringify((await readFile(file, 'utf8')).slice(0, 200));
  throw new Error(`"runsc --version" in the sandbox ended with ${exitStatus} and printed ${seen}`);
}

/** Removes the candidates of a run that was killed. */
export async function sweepCandidates(socket: string, root: string): Promise<void> {
  using containerd = new ContainerdApi(socket);
  await removeCandidates(containerd, root);
}

/** The lock guarantees that no other installer has any. */
async function removeCandidates(containerd: ContainerdApi, root: string): Promise<void> {
  const { containers = [] } = await containerd
    .call<{ containers?: readonly { readonly id: string }[] }>('Containers.List', {})
    .catch(() => ({ containers: [] }));
  for (const { id } of containers) {
    await containerd.call('Tasks.Kill', { containerId: id, signal: 9, all: true }).catch(() => {});
    // A start that hangs has no task yet, and its shim answers nothing.
    const kill = () => killBundle(root, `/${NAMESPACE}/${id}`);
    await containerd.call('Tasks.Delete', { containerId: id }).catch(kill);
    await containerd.call('Containers.Delete', { id }).catch(() => {});
  }
}

/**
 * Kills the processes that name the bundle of a sandbox, "/NAMESPACE/ID": its shim, sentry and gofer. A pod's own process may
 * name it too, and is left alone.
 */
export async function killBundle(root: string, bundle: string): Promise<void> {
  for (const pid of await listPids(root)) {
    const read = (file: string) => readFile(join(root, `/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const cmdline = await read('cmdline');
    const cwd = await readlink(join(root, `/proc/${pid}/cwd`)).catch(() => '');
    if (!cmdline.includes(bundle) && !cwd.endsWith(bundle)) continue;
    if (parseCgroups(await read('cgroup')).some((path) => podUidOf(path) !== undefined)) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {} // it has ended
  }
}

/** The host's own view of the booted sandbox. Its seccomp filter comes with the first program, which is too short to be seen. */
async function inspectSentry(root: string, pid: number): Promise<void> {
  const argv = (await readFile(join(root, `/proc/${pid}/cmdline`), 'utf8')).split('\0');
  if (sentryFlags(argv) === undefined)
    throw new Error(`process ${pid} is "${argv[0]}", not a gVisor sandbox`);
}

/** Whether runsc asks systemd for cgroups, whose names then have another form. */
async function usesSystemd(root: string, { config }: Generation): Promise<boolean> {
  return /^\s*systemd-cgroup = "true"$/m.test(await readFile(join(root, config), 'utf8'));
}

function specOf(id: string, { directory, runsc }: Generation, isSystemd: boolean) {
  return {
    ociVersion: '1.1.0',
    // gVisor's shim gives only a sandbox its standard streams; else it waits for the end of pipes that the sentry holds.
    annotations: {
      'io.kubernetes.cri.container-type': 'sandbox',
      'io.kubernetes.cri.sandbox-id': id,
    },
    root: { path: directory, readonly: true },
    process: {
      args: [runsc.slice(directory.length), '--version'],
      cwd: '/',
      env: ['PATH=/'],
      user: { uid: 65534, gid: 65534 },
      noNewPrivileges: true,
    },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: {
      cgroupsPath: isSystemd ? `system.slice:gvisor-ready:${id}` : `/gvisor-ready/${id}`,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type })),
    },
  };
}

/** A client of containerd's services for containers and tasks, in a namespace of our own. */
class ContainerdApi {
  readonly #client: Client;

  constructor(socket: string) {
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
    });
  }

  call<Response>(name: string, request: object, timeoutMs = CALL_MS): Promise<Response> {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', NAMESPACE);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    this.#client.makeUnaryRequest(
      ...codecOf(SCHEMA, name),
      request,
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, response) =>
        error === null
          ? resolve(response as Response)
          : reject(new Error(`${name}: ${error.details}`, { cause: error })),
    );
    return promise;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function encode(type: string, value: object): Buffer {
  const found = SCHEMA.lookupType(type);
  return Buffer.from(found.encode(found.fromObject(value)).finish());
}
