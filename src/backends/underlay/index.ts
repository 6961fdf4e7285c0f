export { pinnedOwners } from "./pins.js";
export { type UnderlayStatus, underlayDrops } from "./status.js";
export { guardingUnderlay, refreshUnderlay, removeUnderlay, underlayStatus } from "./underlay.js";
