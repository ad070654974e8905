/**
 * What the controller finds wrong. Page, `/fleet` and plugin have the same code, and an alert of the same cause is named
 * GVisor and the code, as is its runbook.
 */
export const ALARM_CODES = [
  'AgentFlaps',
  'AgentsMissing',
  'CanaryFails',
  'ControllerStarved',
  'EgressOpen',
  'EgressUnknown',
  'FleetCannotWrite',
  'FleetTooLarge',
  'GuardMissing',
  'GuardsUnread',
  'InstallationFailed',
  'LabelOutdated',
  'LabelWithoutAgent',
  'NoNodeReady',
  'NodeOutdated',
  'ReadyShareLow',
  'ReportsUnread',
  'RequirementLifted',
  'SandboxesHang',
  'UnsandboxedPods',
  'WatchesDown',
  'WeakenedPods',
] as const;

/** Why the circuit breaker is open; each is an alarm. */
export const BREAKER_REASONS = {
  ApiServerAway: 'The API server was away, so the state of the agents may be outdated.',
  AgentsGone: 'The DaemonSet of the agents does not exist.',
  TooManyLost: 'Too many labelled nodes at once lost their agents.',
  TooFewLeft: 'A third of the nodes that were labelled have no agent.',
} as const;

export type BreakerReason = keyof typeof BREAKER_REASONS;
export type AlarmCode = (typeof ALARM_CODES)[number] | BreakerReason;
