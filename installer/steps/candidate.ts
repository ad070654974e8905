import { randomUUID } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import timers from 'node:timers/promises';
import { CriError } from '../../lib/containerd/error.ts';
import { outcomeOfError } from '../../lib/proof/outcome.ts';
import { sentryFlags } from '../../lib/runsc/flags.ts';
import type { Node } from '../base/node.ts';
import { killBundle } from '../base/processes.ts';
import { Refusal } from '../base/refusal.ts';
import type { Generation } from '../release/generation.ts';

/** The CRI, and so the kubelet, does not see this namespace of containerd. */
const namespace = 'gvisor-ready';
const CALL = { namespace, timeoutMs: 20_000 };
/** Measured: 0.3 s on an idle node; a busy one may take a hundred times as long. */
const BOOT = { namespace, timeoutMs: 60_000 };
const OUTPUT_POLLS = 100;
const OUTPUT_POLL_MS = 50;

/**
 * Boots a sandbox of a generation beside the CRI: no handler is touched, and containerd does not restart. The
 * generation's directory is the read-only root, and its `runsc --version` the program. Resolves with the
 * milliseconds until it had booted; throws a {@link Refusal} if it does not boot or run.
 */
export async function proveCandidate(
  { client, root }: Pick<Node, 'client' | 'root'>,
  generation: Generation,
): Promise<number> {
  const { release, shim, config: configPath } = generation;
  const id = `gvisor-ready-${randomUUID().slice(0, 8)}`;
  const output = `/run/${id}.out`;
  try {
    await writeFile(join(root, output), '');
    const options = {
      typeUrl: 'runtimeoptions.v1.Options',
      value: { typeUrl: 'io.containerd.runsc.v1.options', configPath },
    };
    const spec = {
      typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
      value: Buffer.from(JSON.stringify(specOf(id, generation, await usesSystemd(root, generation)))),
    };
    await client.call(
      'Containers.Create',
      { container: { id, runtime: { name: shim, options }, spec } },
      CALL,
    );
    const startedMs = performance.now();
    const task = { containerId: id, stdout: output, stderr: output, runtimePath: shim };
    const { pid } = await client.call<{ pid: number }>('Tasks.Create', task, BOOT);
    const bootMs = performance.now() - startedMs;
    await inspectSentry(root, pid);
    const ended = client.call('Tasks.Wait', { containerId: id }, BOOT);
    ended.catch(() => {});
    await client.call('Tasks.Start', { containerId: id }, BOOT);
    await ended;
    await requireOutput(join(root, output));
    return bootMs;
  } catch (cause) {
    const seen = cause instanceof Error ? cause.message : String(cause);
    const isLate = cause instanceof CriError && cause.kind === 'timeout';
    const { reason } = isLate ? { reason: 'SandboxHangs' } : (outcomeOfError(seen) as { reason?: string });
    const what = `gVisor ${release} does not boot here, so nothing was changed: ${isLate ? 'it hangs; ' : ''}${seen}`;
    const next = 'Install another release, or repair what this names';
    throw new Refusal('pre-prove', { what, next, reason, cause });
  } finally {
    await removeCandidates({ client, root });
    await rm(join(root, output), { force: true });
  }
}

/**
 * The shim copies the text until the program ends and a moment longer. The exit status does not count, since
 * a shim whose sentry ends before it waits reports 128.
 */
async function requireOutput(file: string): Promise<void> {
  for (let poll = 0; poll < OUTPUT_POLLS; poll++) {
    if (/^runsc version /m.test(await readFile(file, 'utf8'))) return;
    await timers.setTimeout(OUTPUT_POLL_MS);
  }
  const seen = JSON.stringify((await readFile(file, 'utf8')).slice(0, 200));
  throw new Error(`"runsc --version" in the sandbox printed ${seen}`);
}

/** Removes those of killed runs too, since the lock keeps others out: a starting containerd 1.7 may wait for their shims for ever. */
export async function removeCandidates({ client, root }: Pick<Node, 'client' | 'root'>): Promise<void> {
  const bundles = join(root, posix.dirname(client.bundles), namespace);
  const ids = await client
    .call<{ containers: readonly { readonly id: string }[] }>('Containers.List', {}, CALL)
    .then(({ containers }) => containers.map(({ id }) => id))
    .catch(() => readdir(bundles).catch(() => []));
  for (const id of ids) {
    await client.call('Tasks.Kill', { containerId: id, signal: 9, all: true }, CALL).catch(() => {});
    // A start that hangs has no task yet, and its shim answers nothing.
    const kill = () => killBundle(root, `/${namespace}/${id}`);
    await client.deleteTask(id, CALL).catch(kill);
    await client.deleteContainer(id, CALL).catch(() => {});
  }
}

/** The seccomp filter comes with the first program, which is too short to be seen. */
async function inspectSentry(root: string, pid: number): Promise<void> {
  const argv = (await readFile(join(root, `/proc/${pid}/cmdline`), 'utf8')).split('\0');
  if (sentryFlags(argv) === undefined)
    throw new Error(`process ${pid} is "${argv[0]}", not a gVisor sandbox`);
}

/** systemd's names of cgroups have another form. */
async function usesSystemd(root: string, { config }: Generation): Promise<boolean> {
  return /^\s*systemd-cgroup = "true"$/m.test(await readFile(join(root, config), 'utf8'));
}

function specOf(id: string, { directory, runsc }: Generation, isSystemd: boolean) {
  return {
    ociVersion: '1.1.0',
    // gVisor's shim gives only a sandbox its standard streams; else it waits for the end of pipes that the
    // sentry holds.
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
