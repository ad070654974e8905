import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import { MONITORING } from '../../hack/prometheus-rules.ts';
import { runAll, runMain } from '../../hack/run.ts';
import { ensureTools } from './tools.ts';

// Lints the Prometheus rules with pint, without a server. Part of `npm run check`.
await runMain(async () => {
  const { pint } = await ensureTools(['pint']);
  const options = ['--offline', '--no-color', '--log-level=error'];
  const lint = ['lint', '--fail-on=warning', join(MONITORING, 'rules.yaml')];
  const { code, stdout, stderr } = await runAll(join(pint, 'pint'), [...options, ...lint], { cwd: REPO });
  if (code !== 0) throw new Error(`${stdout}${stderr}`.trim());
});
