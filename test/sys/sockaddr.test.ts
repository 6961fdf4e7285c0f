import test from "ava";
import { Slab } from "../../src/sys/slab.js";
import { parseAddress, scopedText, writeSockaddr } from "../../src/sys/sockaddr.js";

for (const [text, canonical] of [
  ["192.0.2.1", "192.0.2.1"],
  ["2001:DB8:0:0::1", "2001:db8::1"],
  ["::ffff:192.0.2.1", "::ffff:c000:201"],
] as const) {
  test(`the address ${text} is parsed to ${canonical}`, (t) => {
    t.is(parseAddress(text).text, canonical);
  });
}

for (const text of ["", "10.1", "0x7f000001", "256.0.0.1", "hub", "192.0.2.1/24", ":::1"]) {
  test(`"${text}" is no address`, (t) => {
    t.throws(() => parseAddress(text), { instanceOf: TypeError, message: /is not an IPv4 or IPv6 address/ });
  });
}

test("a struct sockaddr_in holds family, port and address in network byte order", (t) => {
  const slab = new Slab(32);
  slab.bytes.fill(0xee);
  t.is(writeSockaddr(slab, 4, parseAddress("192.0.2.1"), 4500, 7), 16);
  t.deepEqual(
    [...slab.bytes.subarray(4, 21)],
    [2, 0, 0x11, 0x94, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xee],
  );
});

for (const [text, scope] of [
  ["2001:db8::1", 0],
  ["fe80::1", 7],
  ["febf::1", 7],
  ["fec0::1", 0],
] as const) {
  test(`a struct sockaddr_in6 has scope ${scope} for ${text} on link 7`, (t) => {
    const slab = new Slab(32);
    const address = parseAddress(text);
    t.is(writeSockaddr(slab, 0, address, 4500, 7), 28);
    t.deepEqual([...slab.bytes.subarray(0, 8)], [10, 0, 0x11, 0x94, 0, 0, 0, 0]);
    t.deepEqual([...slab.bytes.subarray(8, 24)], [...address.bytes]);
    t.is(slab.view.getUint32(24, true), scope);
    t.is(scopedText(address, 7), scope === 0 ? text : `${text}%7`);
  });
}
