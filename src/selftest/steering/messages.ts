import type { Policy } from "../../config/policy.js";

/** What the steering process is asked for, in the network namespace at `netns`. */
export type SteeringRequest = { readonly netns: string } & (
  | { readonly operation: "apply"; readonly policy: string | Policy }
  | { readonly operation: "status" | "unload"; readonly name: string }
);

export type SteeringReply = { readonly result: unknown } | { readonly error: string };
