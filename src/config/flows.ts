import type { ExactFlows, FlowSubnets, Flows } from "./policy.js";

const NO_SUBNETS: FlowSubnets = {
  words: new Uint32Array(0),
  length: new Uint8Array(0),
  connection: new Uint32Array(0),
  file: new Uint8Array(0),
  line: new Uint32Array(0),
};

const NO_EXACT: ExactFlows = {
  src: new Uint32Array(0),
  dst: new Uint32Array(0),
  proto: new Uint8Array(0),
  ports: new Uint32Array(0),
  connection: new Uint32Array(0),
  file: new Uint8Array(0),
  line: new Uint32Array(0),
};

/** Of a policy without bulk files. */
export const NO_FLOWS: Flows = {
  files: [],
  subnets4: NO_SUBNETS,
  subnets6: NO_SUBNETS,
  exact4: NO_EXACT,
  exact6: NO_EXACT,
};
