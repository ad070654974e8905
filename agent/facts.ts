/** What is known of the node besides the verdict; a fact that could not be had is absent. */
export type Facts = {
  readonly kernel?: string;
  readonly containerd?: string;
  /** As the program names it, for example "release-20260223.0"; undefined where it was seen to name none. */
  readonly runsc?: string | undefined;
  readonly platform?: string;
  readonly distribution?: string;
  readonly [hardware: string]: string | undefined;
};
