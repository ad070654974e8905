import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type RunOptions, runAll, waitFor } from '../../hack/run.ts';
import { MACHINE_PATH, type Machine, type MachineProcess } from '../machine/machine.ts';
import { DISK, kvmWorks, qemuCommand } from '../machine/qemu.ts';
import { plugInTap } from '../machine/veth.ts';
import { addressOf } from '../plan/addresses.ts';
import type { NodeSpec } from '../plan/nodes.ts';
import { ensureVmImage } from '../tools/vm-image.ts';
import { kubeletCommand } from './config.ts';
import type { NodeDaemon, NodeSystem } from './system.ts';

/** A path in the namespaces of qemu. */
const KEY = '/etc/guest-key';
/** Under emulation a guest takes 20 to 40 s on an idle machine. */
const BOOT_MS = 240_000;

/** SSH reaches the guest. qemu itself runs in namespaces. */
export class VmSystem implements NodeSystem {
  readonly #machine: Machine;
  readonly #spec: NodeSpec;

  constructor(machine: Machine, spec: NodeSpec) {
    this.#machine = machine;
    this.#spec = spec;
  }

  async start(controlPlane: Machine | undefined): Promise<void> {
    if (controlPlane === undefined) throw new Error('A virtual machine needs the network of a cluster');
    await this.#machine.start(controlPlane);
    const port = await plugInTap(controlPlane, this.#spec);
    if (this.#machine.daemonPid('qemu') === undefined) await this.#startQemu(port);
    const what = `the guest "${this.#spec.name}" to start (see ${this.#machine.dir}/qemu.log)`;
    await waitFor(what, BOOT_MS, async () => {
      await this.run(['true'], { timeoutMs: 30_000 });
      return true;
    });
  }

  async #startQemu(port: string): Promise<void> {
    const { arch } = this.#spec;
    const image = await ensureVmImage(arch);
    const script = `
if [ ! -e ${KEY} ]; then
  rm -f ${KEY}.new ${KEY}.new.pub
  ssh-keygen -q -t ed25519 -N '' -C gvisor-ready -f ${KEY}.new
  mv ${KEY}.new.pub ${KEY}.pub
  mv ${KEY}.new ${KEY}
fi
if [ ! -e ${DISK} ]; then
  qemu-img create -q -f qcow2 -F raw -b "$1" ${DISK}.new
  mv ${DISK}.new ${DISK}
fi
cat ${KEY}.pub`;
    const key = await this.#machine.run(['/bin/sh', '-ec', script, 'sh', image.disk]);
    const accel = arch === undefined && (await kvmWorks(image.kernel)) ? 'kvm' : 'tcg';
    await this.#machine.daemon('qemu', qemuCommand(this.#spec, { image, port, accel, key: key.trim() }));
  }

  async run(command: readonly string[], options: RunOptions = {}): Promise<string> {
    const words = ['/bin/sh', '-c', '. /run/join-cgroup; exec "$@"', 'ssh', ...this.#ssh(command)];
    const env = { PATH: MACHINE_PATH, HOME: '/root' };
    const { code, stdout, stderr } = await runAll('nsenter', this.#machine.enter(...words), {
      env,
      ...options,
    });
    if (code === 0) return stdout;
    const tail = (stderr.trim() || stdout.trim()).split('\n').slice(-6).join('\n');
    throw new Error(
      `"${command.join(' ')}" in the virtual machine "${this.#spec.name}" ended with ${code}: ${tail}`,
    );
  }

  /** The first command opens the connection; later commands share it. */
  #ssh(command: readonly string[]): string[] {
    const options = [
      'ControlMaster=auto',
      'ControlPath=/run/guest-ssh',
      'ControlPersist=yes',
      'ConnectTimeout=10',
      'ServerAliveInterval=10',
      'ServerAliveCountMax=6',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
      `IdentityFile=${KEY}`,
      'BatchMode=yes',
    ].flatMap((option) => ['-o', option]);
    const words = ['env', `PATH=${MACHINE_PATH}`, 'HOME=/root', ...command].map(quote);
    return ['ssh', '-F', 'none', ...options, `root@${addressOf(this.#spec)}`, words.join(' ')];
  }

  #script(script: string, args: readonly string[] = [], options: RunOptions = {}): Promise<string> {
    return this.run(['/bin/sh', '-ec', script, 'sh', ...args], options);
  }

  read(inside: string): Promise<string> {
    return this.#script('if [ -e "$1" ]; then cat "$1"; fi', [inside]);
  }

  async write(inside: string, content: string, mode: number): Promise<void> {
    const script =
      'mkdir -p "$2"; umask 077; cat >"$1.new"; chmod "$3" "$1.new"; sync "$1.new"; mv "$1.new" "$1"';
    await this.#script(script, [inside, dirname(inside), mode.toString(8)], { input: content });
  }

  async install(source: string, inside: string): Promise<void> {
    const script = `
[ ! -e "$2" ] || chmod 755 "$2"
[ "$(stat -Lc %s.%Y "$1")" != "$(stat -c %s.%Y "$2" 2>/dev/null || :)" ] || exit 0
mkdir -p "$3"
cp -Lp "$1" "$2.new"; chmod 755 "$2.new"; sync "$2.new"; mv "$2.new" "$2"`;
    await this.#script(script, [source, inside, dirname(inside)]);
  }

  async provide(source: string, inside: string): Promise<void> {
    const script = `
mkdir -p "$3"
[ ! -d "$1" ] || { rm -rf "$2"; cp -rL "$1" "$2"; exit 0; }
cp -Lp "$1" "$2.new"; chmod 755 "$2.new"; mv "$2.new" "$2"`;
    await this.#script(script, [source, inside, dirname(inside)]);
  }

  async processes(): Promise<readonly MachineProcess[]> {
    const text = await this.#script('head -c 65536 /proc/[0-9]*/cmdline 2>/dev/null || :');
    return parseProcesses(text);
  }

  async kill(signal: string, pids: readonly number[]): Promise<void> {
    await this.#script('kill -s "$@" || :', [signal, ...pids.map(String)]);
  }

  async daemonState(name: NodeDaemon): Promise<string | undefined> {
    const script =
      'p=$(systemctl show -p MainPID --value "$1"); [ "$p" = 0 ] || cat "/proc/$p/stat" 2>/dev/null || :';
    const stat = await this.#script(script, [name]);
    return stat === '' ? undefined : stat.replace(/^.*\) /s, '')[0];
  }

  async startDaemon(name: NodeDaemon): Promise<void> {
    const file = `/etc/systemd/system/${name}.service`;
    const unit = await unitOf(name, this.#spec);
    if ((await this.read(file)) !== unit) {
      await this.write(file, unit, 0o644);
      await this.run(['systemctl', 'daemon-reload']);
      await this.run(['systemctl', 'enable', '--quiet', name]); // reloads all units, which takes seconds
    }
    await this.run(['systemctl', 'start', name], { timeoutMs: 120_000 });
  }

  async stopDaemon(name: NodeDaemon): Promise<void> {
    await this.#script('systemctl kill --kill-whom=main -s CONT "$1" 2>/dev/null || :; systemctl stop "$1"', [
      name,
    ]);
  }

  async signalDaemon(name: NodeDaemon, signal: 'STOP' | 'CONT'): Promise<void> {
    await this.run(['systemctl', 'kill', '--kill-whom=main', `--signal=${signal}`, name]);
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The output of `head` for files /proc/PID/cmdline. */
function parseProcesses(text: string): MachineProcess[] {
  return text.split(/(?:^|\n)==> \/proc\/(?=\d+\/cmdline <==\n)/).flatMap((part) => {
    const [, pid, line] = /^(\d+)\/cmdline <==\n(.*)$/s.exec(part) ?? [];
    if (pid === undefined || !line) return []; // kernel threads have no arguments
    return [{ pid: Number(pid), argv: line.replace(/\n$/, '').split('\0').slice(0, -1) }];
  });
}

async function unitOf(name: NodeDaemon, spec: NodeSpec): Promise<string> {
  const unit = await readFile(join(import.meta.dirname, `${name}.service`), 'utf8');
  return unit.replace('@COMMAND@', kubeletCommand(spec).join(' '));
}
