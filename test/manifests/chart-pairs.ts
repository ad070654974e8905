import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';

/** Components of kustomize and the equivalent values of the chart. */
export type Pair = { readonly components: readonly string[]; readonly values: object };

const { pairs, all } = parse(readFileSync(join(REPO, 'test/manifests/chart-pairs.yaml'), 'utf8')) as {
  readonly pairs: readonly Pair[];
  readonly all: Pair;
};

/** One pair for each component. */
export const PAIRS = pairs;

/** All components that can be combined. */
export const ALL = all;
