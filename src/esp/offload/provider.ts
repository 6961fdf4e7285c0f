import type { OffloadModule, OffloadSpec } from "../messages.js";
import type { OffloadState, OffloadType } from "./contract.js";

/** What a connection asks for: that its SAs be offloaded to a device (`ip xfrm state add ... offload dev NAME dir ...`). */
export interface OffloadRequest {
  readonly device: string;
  readonly type: OffloadType;
  /** Whether an SA that is not offloaded is an error; else it is added again without, as IKE daemons do. */
  readonly required: boolean;
}

/** What became of an SA's request. */
export interface OffloadAnswer {
  /** Null where the stack does the SA's crypto. */
  readonly spec: OffloadSpec | null;
  /** Why it does; "" where a device has it. */
  readonly reason: string;
}

/** The devices of a data path. */
export interface OffloadProvider {
  readonly module: OffloadModule;
  /** @param device by its name. An SA that gets a spec is told of by `remove` when it goes. */
  add(device: string, state: OffloadState): OffloadAnswer;
  remove(spec: OffloadSpec): void;
}

/** The answer where a data path has no devices. */
export const NO_DEVICE: OffloadAnswer = {
  spec: null,
  reason: "the userspace backend knows no device that offloads",
};
