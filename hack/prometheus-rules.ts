import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPO } from './paths.ts';

/** Names of PrometheusRules by the directory of their component. */
export const RULES = {
  'manifests/components/monitoring': 'gvisor-ready',
  'manifests/components/monitoring-kube-state-metrics': 'gvisor-ready-kube-state-metrics',
} as const satisfies Record<string, string>;

/** Rules for metrics of the fleet controller. */
export const FLEET_RULES = {
  'manifests/components/monitoring-fleet': 'gvisor-ready-fleet',
} as const satisfies Record<string, string>;

/** Wraps the groups of a plain Prometheus rules file in a PrometheusRule (YAML). */
export function prometheusRule(name: string, rules: string): string {
  const groups = rules.slice(rules.indexOf('groups:')).trimEnd();
  return `# Written by \`npm run rules\` from rules.yaml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ${name}
  namespace: gvisor-ready
spec:
${groups.replace(/^(?=.)/gm, '  ')}
`;
}

if (pathToFileURL(process.argv[1] ?? '').href === import.meta.url) {
  for (const [directory, name] of Object.entries({ ...RULES, ...FLEET_RULES })) {
    const rules = await readFile(join(REPO, directory, 'rules.yaml'), 'utf8');
    await writeFile(join(REPO, directory, 'prometheus-rule.yaml'), prometheusRule(name, rules));
  }
}
