import type { OffloadState } from "../../src/esp/offload/contract.js";

let spi = 0x1000;

/** An SA that every profile with its direction takes, but for what the test changes. */
export function offloadState(overrides: Partial<OffloadState> = {}): OffloadState {
  return {
    direction: "out",
    type: "crypto",
    spi: spi++,
    source: "192.0.2.1",
    destination: "198.51.100.1",
    family: 4,
    mode: "transport",
    suite: "aes128-gcm",
    encapsulation: "none",
    esn: false,
    replayWindow: 64,
    reqid: 42,
    ifId: 0,
    tfcpad: 0,
    ...overrides,
  };
}
