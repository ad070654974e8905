import { versionOf } from '../cluster/tool-groups.ts';

/** The minor version of the Kubernetes that tests run on: 36 for 1.36. */
export const MINOR = Number(/^v1\.(\d+)\./.exec(await versionOf('kubernetes'))?.[1]);

/** Whether that Kubernetes has MutatingAdmissionPolicy v1, which the component `inject` is made of. */
export const INJECTS = MINOR >= 36;
