import { Unreachable } from './api.ts';
import { checkAdmission } from './check-admission.ts';
import { checkAgents } from './check-agents.ts';
import { checkClasses, checkVersion } from './check-cluster.ts';
import { blindLine, type CheckLine, checkLines } from './check-line.ts';
import { checkPods } from './check-pods.ts';
import { checkBefore } from './check-pre.ts';
import { type Context, EXIT } from './context.ts';
import { type Format, isForPrograms, serialize } from './output.ts';

/** The flags of `check`. */
export type CheckOptions = { readonly output?: Format; readonly pre?: boolean };

/** One group of checks: a name for what cannot be read, and the page that knows more. */
type Group = readonly [
  section: string,
  docs: string,
  look: (context: Context) => Promise<readonly CheckLine[]>,
];

const INSTALLED: readonly Group[] = [
  ['Kubernetes', 'docs/admission.md', checkVersion],
  ['RuntimeClass', 'docs/install.md#3-the-agent-which-proves-it', checkClasses],
  ['Agents', 'docs/operations.md#when-something-is-wrong', checkAgents],
  ['Admission', 'docs/admission.md#installing-it', checkAdmission],
  ['Pods', 'docs/runbooks/GVisorUnsandboxedPods.md', checkPods],
];
const BEFORE: readonly Group[] = [
  ['Kubernetes', 'docs/admission.md', checkVersion],
  ['Before installing', 'docs/install.md#3-the-agent-which-proves-it', checkBefore],
];

/** `check`: whether all that gVisor needs in this cluster is there and fits together; with --pre, whether it can be installed. */
export async function check(context: Context, { output, pre = false }: CheckOptions): Promise<number> {
  const { screen } = context;
  const groups = pre ? BEFORE : INSTALLED;
  const found = await Promise.all(
    groups.map(([section, docs, look]) =>
      look(context).catch((error: unknown) => {
        if (error instanceof Unreachable) throw error;
        return [blindLine(section, error, docs)];
      }),
    ),
  );
  const lines = found.flat();
  const tones = lines.map(({ tone }) => tone);
  const code = tones.includes('fail') ? EXIT.problem : tones.includes('unknown') ? EXIT.blind : EXIT.fine;
  if (isForPrograms(output)) screen.out(serialize({ checks: lines }, output));
  else screen.out(`${[...checkLines(lines, screen), '', summary(lines, pre)].join('\n')}\n`);
  return code;
}

function summary(lines: readonly CheckLine[], pre: boolean): string {
  const of = (tone: CheckLine['tone']) => lines.filter((line) => line.tone === tone).length;
  const parts = [
    `${of('pass')} in order`,
    ...(of('warning') > 0 ? [`${of('warning')} to look at`] : []),
    ...(of('fail') > 0 ? [`${of('fail')} wrong`] : []),
    ...(of('unknown') > 0 ? [`${of('unknown')} not seen`] : []),
  ];
  const ready = pre && of('fail') + of('unknown') === 0 ? ': it can be installed' : '';
  return `${parts.join(', ')}${ready}.`;
}
