import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { CONTAINERD_TOML, HANDLER, RUNSC, RUNSC_TOML, type Scene } from './one-look.ts';
import { GARBAGE, HANGS, type Script } from './proof/containerd-scripts.ts';

/** One input: what it is, how it comes there, what a check must say of it, and what the look comes to. */
export type Case = {
  readonly name: string;
  readonly make: (prepared: Scene) => Promise<unknown>;
  readonly found?: readonly [check: string, words: RegExp];
  readonly verdict: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly asNobody?: boolean;
};
const garbage = (method: string, script: Script = GARBAGE): Case['make'] => {
  return async ({ containerd, usual }) => {
    containerd.scripts = { Status: usual, [method]: script };
  };
};
const program = (body: string): Case['make'] => {
  return ({ path }) => writeFile(path(RUNSC), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
};
/** Every input. */
export const CASES: readonly Case[] = [
  {
    name: 'has a containerd configuration that the agent may not read',
    make: ({ path }) => chmod(path(CONTAINERD_TOML), 0),
    asNobody: true,
    found: ['handler-configured', /^unknown CheckFailed: Cannot read host file "\/etc\S+": EACCES$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a runsc.toml that the agent may not read: the sandbox itself tells its flags',
    make: ({ path }) => chmod(path(RUNSC_TOML), 0),
    asNobody: true,
    found: ['runsc-config', /^unknown CheckFailed: Cannot read host file "\/etc\S+": EACCES$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a socket that the agent may not open',
    make: ({ containerd }) => chmod(containerd.socket, 0),
    asNobody: true,
    found: ['containerd', /^unknown ContainerdUnreachable: containerd's Version: connect EACCES/],
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a truncated containerd configuration',
    make: ({ path }) => writeFile(path(CONTAINERD_TOML), HANDLER.slice(0, -8)),
    found: ['handler-configured', /^error ContainerdConfigInvalid: .*line 3/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a truncated runsc.toml',
    make: ({ path }) => writeFile(path(RUNSC_TOML), '[runsc_config]\nnetwork = "ho'),
    found: ['runsc-config', /^error RunscConfigInvalid: .*line 2/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a containerd configuration of 100 MB',
    make: ({ path }) => truncate(path(CONTAINERD_TOML), 100 * 1024 * 1024),
    found: ['handler-configured', /^unknown CheckFailed: .*larger than 1048576 bytes/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a runsc.toml of 100 MB',
    make: ({ path }) => truncate(path(RUNSC_TOML), 100 * 1024 * 1024),
    found: ['runsc-config', /^unknown CheckFailed: .*larger than 1048576 bytes/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a configuration that imports itself, by name and by pattern',
    make: ({ path }) =>
      writeFile(path(CONTAINERD_TOML), `imports = ["config.toml", "/etc/containerd/*.toml"]\n${HANDLER}`),
    found: ['handler-configured', /^pass: /],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a configuration that imports 200 others',
    make: async ({ path }) => {
      await writeFile(path(CONTAINERD_TOML), `imports = ["conf.d/*.toml"]\n${HANDLER}`);
      await mkdir(path('/etc/containerd/conf.d'));
      for (let file = 0; file < 200; file++) await writeFile(path(`/etc/containerd/conf.d/${file}.toml`), '');
    },
    found: ['handler-configured', /^unknown CheckFailed: .*more than 100 files/],
    verdict: 'True SandboxProven',
  },
  ...[CONTAINERD_TOML, RUNSC_TOML, RUNSC].map((file) => ({
    name: `has a FIFO for ${file}`,
    make: async ({ path }: { path: (inside: string) => string }) => {
      await rm(path(file));
      await once(spawn('mkfifo', ['-m', '755', path(file)]), 'exit');
    },
    found: {
      [CONTAINERD_TOML]: ['handler-configured', /^unknown CheckFailed: .*it is a fifo/] as const,
      [RUNSC_TOML]: ['runsc-config', /^unknown CheckFailed: .*it is a fifo/] as const,
      [RUNSC]: ['runsc', /^error RunscNotExecutable: .*fifo/] as const,
    }[file] as readonly [string, RegExp],
    verdict: 'True SandboxProven',
  })),
  {
    name: 'has a runsc of 256 MB',
    make: ({ path }) => truncate(path(RUNSC), 256 * 1024 * 1024),
    found: ['runsc-release', /^pass: gVisor release-20260223\.0$/],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a runsc that names a million releases, where a floor asks for one',
    make: async ({ path }) => {
      const releases = Array.from({ length: 1_000_000 }, (_, nth) => `release-20260223.${nth}\0`);
      await appendFile(path(RUNSC), releases.join(''));
    },
    env: { MIN_RUNSC_RELEASE: '20250101.0' },
    found: ['runsc-release', /^unknown ReleaseUnknown: "\S+runsc" does not name its release$/],
    verdict: 'Unknown ReleaseUnknown',
  },
  {
    name: 'has a runsc that sleeps for ever: nobody runs it',
    make: program('sleep infinity & sleep infinity'),
    found: ['runsc-release', /^unknown ReleaseUnknown: The sandbox runs a program that is not /],
    verdict: 'True SandboxProven',
  },
  {
    name: 'has a sandbox with 10 MB of arguments',
    make: async ({ containerd }) => {
      const { process } = containerd.sandboxes;
      containerd.sandboxes.process = (id, pid, parent) => {
        const usual = process(id, pid, parent);
        return { ...usual, argv: [...usual.argv, 'x'.repeat(10 * 1024 * 1024)] };
      };
    },
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd that answers Version with garbage',
    make: garbage('Version'),
    found: ['containerd', /^unknown ContainerdUnreachable: containerd's Version: /],
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a containerd whose status carries no JSON',
    make: garbage('Status', () => ({ info: { config: '{"registry":{"password":"hunter2"' } })),
    found: ['containerd', /^unknown CheckFailed: .*configuration that is not JSON$/],
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd whose status is larger than 16 MiB',
    make: garbage('Status', () => ({ info: { config: 'x'.repeat(17 * 1024 * 1024) } })),
    found: ['containerd', /^unknown \w+: /],
    verdict: 'Unknown CheckFailed',
  },
  {
    name: 'has a containerd that tells the PIDs of a sandbox as garbage',
    make: garbage('Tasks.ListPids'),
    verdict: 'Unknown ContainerdUnreachable',
  },
  {
    name: 'has a containerd that answers nothing',
    make: garbage('Version', HANGS),
    found: ['containerd', /^unknown CheckTimedOut: containerd's Version: no answer within 3 s$/],
    verdict: 'Unknown CheckTimedOut',
  },
];
