import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPO } from './paths.ts';

/** The components that have rules: the name of the PrometheusRule by the component's folder. */
export const RULES = {
  'manifests/components/monitoring': 'gvisor-ready',
  'manifests/components/monitoring-kube-state-metrics': 'gvisor-ready-kube-state-metrics',
} as const satisfies Record<string, string>;

/** The same of the fleet controller, whose metrics no agent has. */
export const FLEET_RULES = {
  'manifests/components/monitoring-fleet': 'gvisor-ready-fleet',
} as const satisfies Record<string, string>;

/** The PrometheusRule (YAML) that holds the groups of a rules file of plain Prometheus. */
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
  for (const [folder, name] of Object.entries({ ...RULES, ...FLEET_RULES })) {
    const rules = await readFile(join(REPO, folder, 'rules.yaml'), 'utf8');
    await writeFile(join(REPO, folder, 'prometheus-rule.yaml'), prometheusRule(name, rules));
  }
}
