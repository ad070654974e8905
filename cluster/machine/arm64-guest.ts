import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { waitFor } from '../../hack/run.ts';
import type { VmImage } from '../tools/vm-image.ts';

/** Of a line that ends a command's output, before its exit code. */
const END = '#END#';

/** An emulated machine of arm64 without a network. Commands go to its serial console. */
export class Arm64Guest {
  readonly #qemu: ChildProcess;
  readonly #lines: string[] = [];

  private constructor(qemu: ChildProcess) {
    this.#qemu = qemu;
    if (qemu.stdout === null) throw new Error('qemu has no output');
    createInterface({ input: qemu.stdout }).on('line', (line) => this.#lines.push(line.trimEnd()));
  }

  /** Resolves once it accepts commands. */
  static async start({ kernel, initrd, disk }: VmImage): Promise<Arm64Guest> {
    const qemu = spawn(
      'qemu-system-aarch64',
      [
        ...['-machine', 'virt', '-accel', 'tcg,thread=multi', '-cpu', 'max,pauth-impdef=on'],
        ...['-smp', '2', '-m', '2560', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
        ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyAMA0 quiet panic=-1'],
        ...['-drive', `file=${disk},if=virtio,format=raw,cache=unsafe`, '-device', 'virtio-rng-pci'],
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const guest = new Arm64Guest(qemu);
    await once(qemu, 'spawn');
    await guest.#ended(0, 300_000);
    return guest;
  }

  /** Returns the output of a script of sh. Rejects if it fails, with its output. */
  async run(script: string, timeoutMs = 300_000): Promise<string> {
    const from = this.#lines.length;
    this.#qemu.stdin?.write(`${Buffer.from(script).toString('base64')}\n`);
    const at = await this.#ended(from, timeoutMs);
    const output = this.#lines.slice(from, at).join('\n');
    if (this.#lines[at] !== `${END}0`) throw new Error(`${script}: ${this.#lines[at]}\n${output}`);
    return output;
  }

  async stop(): Promise<void> {
    const ended = this.#qemu.exitCode === null ? once(this.#qemu, 'exit') : undefined;
    this.#qemu.kill('SIGKILL');
    await ended;
  }

  /** The index of the next line that ends a command. */
  async #ended(from: number, timeoutMs: number): Promise<number> {
    const find = () => this.#lines.findIndex((line, index) => index >= from && line.startsWith(END));
    await waitFor(
      'the emulated machine',
      timeoutMs,
      async () => find() !== -1 || this.#qemu.exitCode !== null,
    ).catch(
      () => {}, // its last lines say more
    );
    if (find() !== -1) return find();
    const state = this.#qemu.exitCode === null ? 'does not respond' : `ended with ${this.#qemu.exitCode}`;
    throw new Error(`The emulated machine ${state}:\n${this.#lines.slice(from).slice(-30).join('\n')}`);
  }
}
