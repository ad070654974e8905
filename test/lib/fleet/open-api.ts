import type { TestContext } from 'node:test';
import { accessOf, openConfig } from '../../../controller/access.ts';
import { createKube } from '../../../lib/kube/client.ts';
import { fakeApi } from '../../kubectl/fake-api.ts';

/** A fake API server, and the controller's two clients of it. */
export async function openApi(t: TestContext) {
  const { api, kubeconfig } = await fakeApi(t);
  const config = openConfig(kubeconfig);
  const kube = createKube(await accessOf(config), { agent: 'test', count: () => {} });
  t.after(() => kube.close());
  return { api, config, kube };
}
