import test from "ava";
import { isPlaintext, type WirePacket } from "../../src/demo/wire.js";

const ESP: WirePacket = {
  ...{ spi: 0x1001, authentic: true, destination: "10.1.0.1", protocol: "udp", port: 9 },
};

for (const [name, packet, expected] of [
  ["an ESP packet", ESP, 0],
  ["an ESP packet that nobody could decrypt", { ...ESP, authentic: false, protocol: "", port: null }, 0],
  ["a UDP packet in the clear", { ...ESP, spi: null, authentic: false }, 1],
  ["an IPv6 packet in the clear", { ...ESP, spi: null, destination: "fd00:1::1", protocol: "icmpv6" }, 1],
  ["ARP, which has no IP header", { ...ESP, spi: null, destination: "", protocol: "", port: null }, 0],
] as const)
  test(`on the demo's wires, ${name} counts ${expected} times as plaintext`, (t) => {
    t.is([packet].filter(isPlaintext).length, expected);
  });
