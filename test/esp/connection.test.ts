import test from "ava";
import { type ConnectionConfig, ConnectionError, checkConnections } from "../../src/esp/connection.js";

/** Bytes that a message would have to contain if it gave the key away. */
const KEY = Buffer.from("c0ffee00c0ffee01c0ffee02c0ffee03c0ffee04", "hex");

const valid: ConnectionConfig = {
  ifId: 101,
  link: 0,
  local: "192.0.2.1",
  localPort: 4500,
  remote: "192.0.2.2",
  remotePort: 4500,
  suite: "aes128-gcm",
  out: { spi: 256, key: KEY },
  in: { spi: 0xffffffff, key: KEY },
  replayWindow: 64,
};

const wrong: [name: string, connections: ConnectionConfig[], message: RegExp][] = [
  ["if_id 0", [{ ...valid, ifId: 0 }], /an if_id is 1 to 4294967295/],
  ["an if_id of more than 32 bits", [{ ...valid, ifId: 2 ** 32 }], /an if_id is 1 to 4294967295/],
  [
    "two connections of one if_id",
    [valid, { ...valid, in: { spi: 300, key: KEY } }],
    /another connection has the same/,
  ],
  [
    "two inbound SAs of one SPI and address",
    [valid, { ...valid, ifId: 102 }],
    /in SPI 4294967295 to 192.0.2.1 is that of if_id 101/,
  ],
  [
    "two outbound SAs of one SPI and address",
    [valid, { ...valid, ifId: 102, in: { spi: 300, key: KEY } }],
    /out SPI 256 to 192.0.2.2 is that of if_id 101/,
  ],
  [
    "one SPI at two spellings of an address",
    [
      { ...valid, local: "2001:db8::1", remote: "2001:db8::2" },
      { ...valid, local: "2001:DB8:0::0:1", remote: "2001:db8::2", ifId: 102 },
    ],
    /is that of if_id 101/,
  ],
  [
    "one SPI at a link-local address on two links",
    [
      { ...valid, local: "fe80::1", remote: "fe80::2", link: 2 },
      { ...valid, local: "fe80::1", remote: "fe80::3", link: 3, ifId: 102 },
    ],
    /in SPI 4294967295 to fe80::1 is that of if_id 101/,
  ],
  ["a reserved SPI", [{ ...valid, out: { spi: 255, key: KEY } }], /out SPI 255/],
  [
    "a short key",
    [{ ...valid, in: { spi: 300, key: KEY.subarray(0, 16) } }],
    /in key has 16 bytes; aes128-gcm takes 20/,
  ],
  [
    "a key of another suite",
    [{ ...valid, suite: "aes256-gcm" }],
    /out key has 20 bytes; aes256-gcm takes 36/,
  ],
  [
    "an unknown suite",
    [{ ...valid, suite: "toString" as "aes128-gcm" }],
    /suite "toString" is unknown; there is aes128-gcm/,
  ],
  ["port 0", [{ ...valid, localPort: 0 }], /local port 0/],
  ["a port above 65535", [{ ...valid, remotePort: 65536 }], /remote port 65536/],
  ["a replay window of 31", [{ ...valid, replayWindow: 31 }], /replay window of 31 packets/],
  ["a replay window of 4097", [{ ...valid, replayWindow: 4097 }], /replay window of 4097 packets/],
  [
    "a local name in place of an address",
    [{ ...valid, local: "hub" }],
    /"hub" is not an IPv4 or IPv6 address/,
  ],
  ["an address in short form", [{ ...valid, remote: "10.1" }], /"10.1" is not an IPv4 or IPv6 address/],
  ["two address families", [{ ...valid, remote: "2001:db8::1" }], /of different address families/],
  [
    "a remote address of no host",
    [{ ...valid, remote: "0.0.0.0" }],
    /remote 0.0.0.0 names no host; write the/,
  ],
  [
    "a local address of no host",
    [{ ...valid, local: "::", remote: "2001:db8::1" }],
    /local :: names no host/,
  ],
  ["a multicast address", [{ ...valid, remote: "224.0.0.5" }], /remote 224.0.0.5 is a multicast address/],
  ["the broadcast address", [{ ...valid, remote: "255.255.255.255" }], /255 is a broadcast address/],
  ["local equal to remote", [{ ...valid, remote: "192.0.2.1" }], /remote 192.0.2.1 is local too/],
  [
    "an IPv4-mapped address",
    [{ ...valid, local: "::ffff:192.0.2.1", remote: "2001:db8::1" }],
    /local ::ffff:c000:201 is an IPv4-mapped address, which no packet has; write 192.0.2.1/,
  ],
  [
    "a link-local address without a link",
    [{ ...valid, local: "fe80::1", remote: "fe80::2" }],
    /local fe80::1 is link-local, and the connection has no link; write link: DEVICE/,
  ],
  [
    "a multicast address inside of BEET",
    [{ ...valid, mode: "beet", inner: { local: "10.0.0.1", remote: "239.0.0.1" } }],
    /inner remote 239.0.0.1 is a multicast address/,
  ],
  ["a negative link", [{ ...valid, link: -1 }], /link -1 is not an ifindex/],
];

for (const [name, connections, message] of wrong) {
  test(`refused, without the key in the message: ${name}`, (t) => {
    const error = t.throws(() => checkConnections(connections), { instanceOf: ConnectionError, message });
    t.notRegex(JSON.stringify(error) + error?.message + error?.stack, /c0ffee|192,255,238/);
  });
}

test("accepted: the edges of every range, and one SPI on two local addresses", (t) => {
  const other = {
    ...valid,
    ifId: 0xffffffff,
    local: "192.0.2.3",
    remote: "192.0.2.4",
    replayWindow: 4096,
    localPort: 65535,
  };
  t.is(checkConnections([{ ...valid, ifId: 1, replayWindow: 32 }, other]).length, 2);
});
