/** What the host asks of the runner in the guest. */
export interface GuestPlan {
  /** Scenario files, as absolute paths in the guest; none for the built-in scenarios. */
  files: string[];
  /** The scenarios to run, in this order. */
  names: string[];
  /** Where to keep captures, in the guest. */
  captures: string;
}
