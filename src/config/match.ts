import type { Match, SetFields } from "./policy.js";

/** Asks nothing of a packet. */
export const ANY_MATCH: Match = {
  src: [],
  dst: [],
  proto: [],
  sport: [],
  dport: [],
  icmpType: [],
  dscp: [],
  ecn: [],
  mark: [],
  iif: [],
  length: [],
  fragment: [],
  not: [],
};

/** Changes nothing of a packet. */
export const SET_NOTHING: SetFields = { mark: null, dscp: null };
