export type { ConnectionConfig, ConnectionPolicy, SaKeys } from "./connection.js";
export { ConnectionError, wipeKeys } from "./connection.js";
export type {
  Datapath,
  DatapathOptions,
  DatapathStatistics,
  ExpireEvent,
  OffloadStatus,
  SaStatistics,
  SwitchOver,
} from "./datapath.js";
export { startDatapath } from "./datapath.js";
export { EPOCHS, FRAME_HEADER_SIZE, readShim, SHIM_SIZE } from "./framing.js";
export type { ShownPolicy, ShownState } from "./inventory.js";
export type { Lifetime, Limits } from "./lifetime.js";
export type { Encapsulation, Mode, Wrapping } from "./packet.js";
export { innerMtu } from "./packet.js";
export { MAX_QUEUES } from "./queues.js";
export type { Rekey } from "./rekey.js";
export type { Selector } from "./selector.js";
export type { IoCounter, XfrmStat } from "./statistics.js";
export { IO_COUNTERS, XFRM_STATS } from "./statistics.js";
export type { SuiteName } from "./suite.js";
export { keymatSize, SUITE_NAMES } from "./suite.js";
export { WorkerError } from "./worker-handle.js";
