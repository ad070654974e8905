import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';

/** A handler and the verdict that the agent must reach. */
export type Variant = {
  readonly name: string;
  /** A runtime type or the path of a shim. */
  readonly shim?: string;
  /** binary_name in the shim's file. */
  readonly runsc?: string;
  /** Flags in the shim's file. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly sandboxer?: string;
  /** `pod_annotations` of the handler. */
  readonly podAnnotations?: readonly string[];
  /** Settings of the agent. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its status, and the reasons that it may have. */
  readonly verdict: readonly [string, ...string[]];
  /** A warning that must be among the findings. */
  readonly warning?: string;
  /** Runs on one containerd version only. */
  readonly once?: boolean;
};

export const VARIANTS: readonly Variant[] = parse(
  readFileSync(join(REPO, 'test/integration/runtime-variants.yaml'), 'utf8'),
);

/** Directories of each gVisor with its shim. */
export const GVISOR = {
  old: '/opt/gvisor/2025-02',
  current: '/opt/gvisor/2026-02',
  bare: '/opt/gvisor/2026-09',
  whole: '/opt/gvisor/2026-09-whole',
} as const;
