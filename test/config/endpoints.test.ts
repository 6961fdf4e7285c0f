import test from "ava";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";

const said = (text: string) => parsePolicy(text, "s.yaml").diagnostics.map(formatDiagnostic);

const esp = (ends: string, more = "") =>
  `version: 1
connections:
  a:
    if_id: 1
    subnets: [10.1.0.0/16]${more}
    esp:
      suite: aes128-gcm
      out: {spi: 0x1001, key: env:A}
      in: {spi: 0x1002, key: env:B}
${ends}`;

const ends = (local: string, remote: string) => `      local: "${local}"\n      remote: "${remote}"\n`;
const HOST = "write the address of one host";

for (const [title, local, remote, expected] of [
  ["0.0.0.0", "192.0.2.1", "0.0.0.0", [`11:15: error: remote 0.0.0.0 names no host; ${HOST}`]],
  ["::", "::", "2001:db8::2", [`10:14: error: local :: names no host; ${HOST}`]],
  ["multicast", "192.0.2.1", "224.0.0.1", [`11:15: error: remote 224.0.0.1 is a multicast address; ${HOST}`]],
  [
    "IPv6 multicast",
    "2001:db8::1",
    "ff02::1",
    [`11:15: error: remote ff02::1 is a multicast address; ${HOST}`],
  ],
  [
    "broadcast",
    "192.0.2.1",
    "255.255.255.255",
    [`11:15: error: remote 255.255.255.255 is a broadcast address; ${HOST}`],
  ],
  [
    "two ends that are none",
    "0.0.0.0",
    "239.1.1.1",
    [
      `10:14: error: local 0.0.0.0 names no host; ${HOST}`,
      `11:15: error: remote 239.1.1.1 is a multicast address; ${HOST}`,
    ],
  ],
  [
    "local equal to remote",
    "2001:db8::1",
    "2001:DB8:0::1",
    ["11:15: error: remote 2001:db8::1 is local too; write the other end's address"],
  ],
  [
    "an IPv4-mapped address",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    ["11:15: error: remote ::ffff:a00:1 is an IPv4-mapped address, which no packet has; write 10.0.0.1"],
  ],
  [
    "link-local addresses without link",
    "fe80::1",
    "fe80::2",
    ["local fe80::1", "remote fe80::2"].map(
      (which, index) =>
        `${10 + index}:${14 + index}: error: ${which} is link-local, and the connection has no link; write link: DEVICE, the device that the address is on`,
    ),
  ],
] as const)
  test(`outer addresses: ${title} is refused`, (t) => {
    t.deepEqual(
      said(esp(ends(local, remote))),
      expected.map((line) => `s.yaml:${line}`),
    );
  });

test("outer addresses: link-local with a link is taken, also with one out of defaults", (t) => {
  t.deepEqual(said(esp(ends("fe80::1", "fe80::2"), "\n    link: wan0")), []);
  t.deepEqual(said(`${esp(ends("fe80::1", "fe80::2"))}defaults: {link: wan0}\n`), []);
});

test("addresses inside of BEET are those of hosts", (t) => {
  t.deepEqual(
    said(
      esp(
        `${ends("192.0.2.1", "192.0.2.2")}      mode: beet\n      inner: {local: 10.0.0.1, remote: 10.0.0.1}\n`,
      ),
    ),
    ["s.yaml:13:40: error: remote 10.0.0.1 is local too; write the other end's address"],
  );
});

test("the interface's addresses are those of hosts", (t) => {
  t.deepEqual(
    said(
      'version: 1\ninterface: {addresses: [224.0.0.1/32, "::/128", 10.0.0.1/8]}\nconnections: {a: {if_id: 1, subnets: [10.0.0.0/8]}}\n',
    ),
    [
      `s.yaml:2:25: error: 224.0.0.1 is a multicast address; ${HOST}`,
      `s.yaml:2:39: error: :: names no host; ${HOST}`,
    ],
  );
});

test("IPv4-mapped prefixes are refused with what would be right", (t) => {
  t.deepEqual(
    said(
      'version: 1\nconnections: {a: {if_id: 1, subnets: ["::ffff:10.0.0.0/104", "::/0"]}}\nrules: [{match: {src: "::ffff:10.0.0.1"}, to: a}]\n',
    ),
    [
      "s.yaml:2:39: error: ::ffff:10.0.0.0/104 is an IPv4-mapped address, which no packet has; write 10.0.0.0/8",
      "s.yaml:3:23: error: ::ffff:10.0.0.1 is an IPv4-mapped address, which no packet has; write 10.0.0.1",
    ],
  );
});

const PATTERN = "looks like a pattern, and names are taken as they stand";

test("device names that are patterns elsewhere are refused", (t) => {
  t.deepEqual(
    said(
      'version: 1\nconnections: {a: {if_id: 1, link: "wan*"}}\nrules: [{match: {iif: [eth+, e+1, {}]}, to: a}]\n'.replace(
        "{}",
        "group:7",
      ),
    ),
    [
      `s.yaml:2:35: error: "wan*" ${PATTERN}; write the whole name of one device`,
      `s.yaml:3:24: error: "eth+" ${PATTERN}; list the devices, or give them a group (ip link set DEVICE group 7) and write iif: group:7`,
    ],
  );
});
