import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from './paths.ts';

/** Relative to the repository. */
export const MONITORING = 'manifests/components/monitoring';

/** YAML; wraps the groups of a plain rules file. */
export function prometheusRule(rules: string): string {
  const groups = rules.slice(rules.indexOf('groups:')).trimEnd();
  return `# Written by \`npm run rules\` from rules.yaml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gvisor-ready
  namespace: gvisor-ready
spec:
${groups.replace(/^(?=.)/gm, '  ')}
`;
}

if (import.meta.filename === process.argv[1]) {
  const rules = await readFile(join(REPO, MONITORING, 'rules.yaml'), 'utf8');
  await writeFile(join(REPO, MONITORING, 'prometheus-rule.yaml'), prometheusRule(rules));
}
