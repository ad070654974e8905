import type { Logger } from 'pino';
import type { Kube } from '../../lib/kube/client.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { type NodeObject, OWN_KEYS } from '../../lib/report/node-object.ts';

/** Beginnings of messages in manifests/base/node-writes.yaml. */
const REFUSED_NODE = 'an agent writes only its own Node';
const REFUSED_LABEL = 'an agent writes only labels of';
const TWO_NODES = '/api/v1/nodes?limit=2';

/**
 * Whether an admission policy limits this agent to its own Node, seen by what it does: the dry run of a write that is not
 * the agent's must be refused. Nothing is written, not even if it is allowed.
 */
export class Guard {
  readonly #kube: Kube;
  readonly #node: string;
  readonly #log: Logger;
  #answer: boolean | undefined;
  #isDue = true;
  /** Undefined before another Node than the agent's was seen, and while there is none. */
  #otherNode: string | undefined;

  constructor({ kube, node, log }: { readonly kube: Kube; readonly node: string; readonly log: Logger }) {
    this.#kube = kube;
    this.#node = node;
    this.#log = log;
  }

  /** Undefined before the first answer. */
  get answer(): boolean | undefined {
    return this.#answer;
  }

  get isDue(): boolean {
    return this.#isDue;
  }

  /** With each new proof: the policy may be gone since the last one. */
  askAgain(): void {
    this.#isDue = true;
  }

  /** Without an answer the earlier one holds until the next proof; rejects if there is none. Ends early if `urgent`. */
  async ask(signal: AbortSignal, urgent: AbortSignal): Promise<void> {
    this.#isDue = false;
    try {
      this.#answer = await this.#isInForce(AbortSignal.any([signal, urgent]));
    } catch (err) {
      if (urgent.aborted && !signal.aborted) {
        this.#isDue = true;
        return;
      }
      if (this.#answer === undefined || signal.aborted) throw err;
      this.#log.warn({ err }, 'cannot ask whether an admission policy limits this agent');
    } finally {
      if (!this.#answer) this.#isDue = true;
    }
  }

  /**
   * Asks with another Node, or if there is none, with a label of its own Node that is not an agent's. Rejects if the answer
   * is unknown: no response, or a refusal by RBAC or another policy.
   */
  async #isInForce(signal: AbortSignal): Promise<boolean> {
    this.#otherNode ??= await this.#findOther(signal);
    if (this.#otherNode !== undefined) {
      const isRefused = await this.#isRefused(
        { node: this.#otherNode, patch: {}, with: REFUSED_NODE },
        signal,
      );
      if (isRefused !== undefined) return isRefused;
      this.#otherNode = undefined;
    }
    const patch = { metadata: { labels: { [OWN_KEYS.refused]: 'true' } } };
    return (await this.#isRefused({ node: this.#node, patch, with: REFUSED_LABEL }, signal)) ?? false;
  }

  /** Undefined if there is no such Node, unless it is the agent's. */
  async #isRefused(
    write: { readonly node: string; readonly patch: object; readonly with: string },
    signal: AbortSignal,
  ): Promise<boolean | undefined> {
    try {
      const path = `/api/v1/nodes/${write.node}/status?dryRun=All`;
      await this.#kube.patch(path, write.patch, 'strategic', signal);
      return false;
    } catch (err) {
      if (!(err instanceof KubeError)) throw err;
      if (err.message.includes(write.with)) return true;
      if (err.status === 404 && write.node !== this.#node) return undefined;
      throw err;
    }
  }

  /** Undefined without another Node, or without the right to list them. */
  async #findOther(signal: AbortSignal): Promise<string | undefined> {
    try {
      const list = (await this.#kube.get(TWO_NODES, signal)) as { readonly items: readonly NodeObject[] };
      const names = list.items.map(({ metadata }) => metadata.name);
      return names.find((name) => name !== this.#node);
    } catch (err) {
      if (err instanceof KubeError && err.status === 403) return undefined;
      throw err;
    }
  }
}
