export type { Policy } from "./config/policy.js";
