export {
  type Address,
  formatAddress,
  formatPrefix,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
} from "./address.js";
export { type Diagnostic, formatDiagnostic } from "./diagnostics.js";
export { NO_FLOWS } from "./flows.js";
export { checkKeys, KeyError, readKey } from "./keys.js";
export { type LoadOptions, type LoadResult, loadPolicy, parsePolicy } from "./load.js";
export type * from "./policy.js";
export { policySchema } from "./schema.js";
