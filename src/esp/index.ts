export type { ConnectionConfig, SaKeys } from "./connection.js";
export { ConnectionError } from "./connection.js";
export type { Datapath, DatapathOptions, DatapathStatistics, SaStatistics } from "./datapath.js";
export { startDatapath } from "./datapath.js";
export { FRAME_HEADER_SIZE, SHIM_SIZE } from "./framing.js";
export type { IoCounter, XfrmStat } from "./statistics.js";
export { IO_COUNTERS, XFRM_STATS } from "./statistics.js";
export type { SuiteName } from "./suite.js";
export { keymatSize } from "./suite.js";
