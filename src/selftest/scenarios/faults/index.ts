import type { Scenario } from "../../scenario.js";
import { kernelBpf, kernelLwt } from "../contract/kernel-subject.js";
import { userspace } from "../contract/userspace-subject.js";
import { forgedPmtu, smallUnderlay } from "./forged-pmtu.js";
import { guard, guardOverPeer } from "./guard.js";
import { icmpErrorScenarios } from "./icmp-errors.js";
import { ifIdExchangeScenarios } from "./if-id-exchange.js";
import { ifIdHeldScenarios } from "./if-id-held.js";
import { killed } from "./kill.js";
import { underlayPlaintexts } from "./underlay-plaintext.js";

/** What goes wrong around the data path: nothing leaves in the clear, and nothing reaches a wrong connection. */
export const faults: readonly Scenario[] = [
  ...[userspace, kernelBpf, kernelLwt].map(killed),
  ...ifIdHeldScenarios,
  ...ifIdExchangeScenarios,
  ...[userspace, kernelBpf, kernelLwt].flatMap((subject) => [
    guard(subject),
    guardOverPeer(subject, false),
    guardOverPeer(subject, true),
  ]),
  ...[userspace, kernelBpf, kernelLwt].map(forgedPmtu),
  smallUnderlay,
  ...icmpErrorScenarios,
  ...underlayPlaintexts,
];
