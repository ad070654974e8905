import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Setting } from '../../agent/config.ts';
import { FLEET_SETTINGS, parseFleetConfig } from '../../fleet/settings.ts';
import { REPO } from '../../hack/paths.ts';

describe('parseFleetConfig', () => {
  it('has defaults', () => {
    assert.deepEqual(parseFleetConfig({}), {
      config: {
        timeouts: {
          agentTimeoutMs: 90_000,
          nodeAgeMs: 300_000,
          windowMs: 600_000,
          recoveryMs: 180_000,
          share: 0.2,
        },
        reportIntervalMs: 300_000,
        taint: false,
        port: 9478,
        logLevel: 'info',
      },
    });
  });

  it('reports every problem at once', () => {
    const parsed = parseFleetConfig({
      AGENT_TIMEOUT: '1s',
      NODE_AGE: 'soon',
      PORT: 'http',
      LOG_LEVEL: 'loud',
    });
    assert.deepEqual(parsed, {
      problems: [
        'AGENT_TIMEOUT="1s" is not between 10 s and 3600 s',
        'NODE_AGE="soon" is not a duration such as 500ms, 30s, 10m or 1h',
        'PORT="http" is not the number of a port',
        'LOG_LEVEL="loud" is not trace, debug, info, warn, error or silent',
      ],
    });
  });

  it('is documented in docs/fleet.md, with defaults, bounds and meanings', async () => {
    const text = await readFile(join(REPO, 'docs/fleet.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| (.*) \| (.*) \| (.*) \|$/gm)].map(
      ([, ...cells]) => cells,
    );
    const settings: [string, Setting][] = Object.entries(FLEET_SETTINGS);
    assert.deepEqual(
      rows,
      settings.map(([name, { fallback, bounds, meaning }]) => [
        name,
        fallback,
        bounds === undefined ? '' : `${bounds[0] / 1000} s to ${bounds[1] / 1000} s`,
        meaning,
      ]),
    );
  });
});
