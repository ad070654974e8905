/**
 * The last words of a canary of egress, as JSON in the message of its container, which has 4,096 bytes at the most.
 * Another schema is another number.
 */
export type EgressMessage = {
  readonly schema: 1;
  /** The age of the sandbox's kernel at the first try; absent if that kernel does not say. */
  readonly sandboxMs?: number;
  /** The age of the program's process at the first try. */
  readonly processMs: number;
  /** From the first try to the last. */
  readonly forMs: number;
  readonly targets: readonly TriedTarget[];
};

export type TriedTarget = {
  readonly name: string;
  /** Those whose end was seen in time. */
  readonly tries: number;
  /** From the begin of the first try that was answered until the last answer, since the first try; absent if none was. */
  readonly open?: { readonly fromMs: number; readonly untilMs: number };
};

export const MAX_TARGETS = 16;
export const TARGET_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
