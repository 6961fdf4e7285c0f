import type { BackendName, Policy } from "../../config/policy.js";

/** What the steering process is asked for: of a backend, in the network namespace at `netns`. */
export type SteeringRequest = { readonly netns: string; readonly backend: BackendName } & (
  | { readonly operation: "apply"; readonly policy: Policy }
  | { readonly operation: "status" | "unload"; readonly name: string }
);

export type SteeringReply = { readonly result: unknown } | { readonly error: string };
