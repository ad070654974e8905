import { type FileStat, Host } from './host.ts';
import type { ReadLimits } from './regular-file.ts';

/**
 * A view of the host that looks at each thing once and gives the same answer, or the same refusal, ever
 * after. Made for one look, so that all its checks speak of the same files and none is read a dozen times.
 * The signal of the first caller ends a reading.
 */
export class RememberingHost extends Host {
  readonly #host: Host;
  readonly #answers = new Map<string, Promise<unknown>>();

  constructor(host: Host) {
    super(host.root);
    this.#host = host;
  }

  #once<Answer>(question: string, ask: () => Promise<Answer>): Promise<Answer> {
    const answer = (this.#answers.get(question) as Promise<Answer> | undefined) ?? ask();
    this.#answers.set(question, answer);
    return answer;
  }

  override realpath(path: string): Promise<string | undefined> {
    return this.#once(`realpath ${path}`, () => this.#host.realpath(path));
  }

  override stat(path: string): Promise<FileStat | undefined> {
    return this.#once(`stat ${path}`, () => this.#host.stat(path));
  }

  override list(path: string): Promise<readonly string[] | undefined> {
    return this.#once(`list ${path}`, () => this.#host.list(path));
  }

  override readLink(path: string): Promise<string | undefined> {
    return this.#once(`link ${path}`, () => this.#host.readLink(path));
  }

  override readText(path: string, limits: ReadLimits = {}): Promise<string | undefined> {
    return this.#once(`text ${limits.maxBytes} ${path}`, () => this.#host.readText(path, limits));
  }

  override readStart(path: string, length: number): Promise<Buffer | undefined> {
    return this.#once(`start ${length} ${path}`, () => this.#host.readStart(path, length));
  }
}
