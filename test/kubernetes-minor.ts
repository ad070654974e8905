import { toolVersion } from '../cluster/tools/tool-groups.ts';

/** The minor version of the tests' Kubernetes: 36 for 1.36. */
export const MINOR = Number(/^v1\.(\d+)\./.exec(await toolVersion('kubernetes'))?.[1]);

/** Whether it has MutatingAdmissionPolicy v1, which the component `inject` needs. */
export const INJECTS = MINOR >= 36;
