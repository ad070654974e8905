/** Where the agents run, as manifests/base has it. */
export const NAMESPACE = 'gvisor-ready';

/** The DaemonSet of the agents. */
export const DAEMON_SET = 'gvisor-ready-agent';

/** What selects the agents' pods. */
export const AGENT_SELECTOR = 'app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=agent';

/** The port that agents listen on unless told. */
export const AGENT_PORT = 9477;
