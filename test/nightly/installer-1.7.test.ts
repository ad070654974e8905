import { tellHandlers } from '../e2e/installer-handlers-story.ts';
import { NODES, useInstallerNodes } from '../e2e/installer-nodes.ts';
import { tellInstaller } from '../e2e/installer-story.ts';

/** The stories of e2e on containerd 1.7, whose last release was in September 2026. */
const cluster = useInstallerNodes('installer-1.7', [NODES[1]]);
for (const tell of [tellInstaller, tellHandlers]) tell(NODES[1], cluster);
