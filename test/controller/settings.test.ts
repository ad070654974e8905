import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseFleetConfig } from '../../controller/settings.ts';

describe('parseFleetConfig', () => {
  it('has defaults', () => {
    assert.deepEqual(parseFleetConfig({}), {
      config: {
        timeouts: {
          agentTimeoutMs: 90_000,
          nodeAgeMs: 300_000,
          windowMs: 600_000,
          recoveryMs: 180_000,
        },
        reportIntervalMs: 15_000,
        taint: false,
        guardsFromFiles: false,
        egressNamespace: undefined,
        listen: { host: '::', port: 9478 },
        logLevel: 'info',
        kubeconfig: undefined,
      },
      problems: [],
    });
  });

  it('reports every problem at once', () => {
    const { problems } = parseFleetConfig({
      AGENT_TIMEOUT: '1s',
      NODE_AGE: 'soon',
      LISTEN_ADDRESS: 'http',
      LOG_LEVEL: 'loud',
    });
    assert.deepEqual(problems, [
      'AGENT_TIMEOUT="1s" is not between 10 s and 3600 s',
      'NODE_AGE="soon" is not a duration such as 500ms, 30s, 10m or 1h',
      'LISTEN_ADDRESS="http" is not [address]:port',
      'LOG_LEVEL="loud" is not trace, debug, info, warn, error or silent',
    ]);
  });
});
