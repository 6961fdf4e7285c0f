import test from "ava";
import { type AeadBackend, chooseBackend } from "../../src/esp/aead.js";
import { createIpsecMb, mbImplementations } from "../../src/esp/aead-ipsec-mb.js";
import { keymatSize, SUITES, type SuiteName } from "../../src/esp/suite.js";
import { Slab } from "../../src/sys/slab.js";
import { random } from "./frames.js";

interface Vector {
  readonly name: string;
  readonly suite: SuiteName;
  readonly keymat: string;
  readonly plaintext: string;
  /** SPI, sequence number, IV, ciphertext and ICV. */
  readonly packet: string;
}

/** draft-mcgrew-gcm-test-01, the cases without extended sequence numbers and with keys of 128 or 256 bits. */
const VECTORS: Vector[] = [
  {
    name: "case 2",
    suite: "aes128-gcm",
    keymat: "feffe9928665731c6d6a8f9467308308 cafebabe",
    plaintext: `4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100
      00010000000000000373697009637962 65726369747902646b00000100010001`,
    packet: `0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304
      a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642
      cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a`,
  },
  {
    name: "case 3",
    suite: "aes256-gcm",
    keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344",
    plaintext: `4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000
      7002400020bf0000020405b40101040201020201`,
    packet: `4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d
      6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d
      ef842d8eb335f4eecfdbf831824b4c4915956c96`,
  },
  {
    name: "case 4",
    suite: "aes128-gcm",
    keymat: "00000000000000000000000000000000 00000000",
    plaintext: `4500003c99c500008001cb7a40679318010101010800075c0200440061626364
      65666768696a6b6c6d6e6f707172737475767761626364656667686901020201`,
    packet: `000000000000000100000000000000004688daf2f973a392732909c331d56d60
      f694abaa414b5e7ff5fdcdfff5e9a284456476492719ffb64de7d9dca1e1d894
      bc3bd57873ed4d181d19d4d5c8c18af3f821d496eeb096e98ad2b69e4799c71d`,
  },
  {
    name: "case 12, the last sequence number and only padding",
    suite: "aes128-gcm",
    keymat: "7d773d00c144c525ac619d18c84a3f47 d9664267",
    plaintext: "01020201",
    packet: "335467aeffffffff43457e9182443bc6437f866bcb3f699fe9b0822bac961c4504bef270",
  },
];

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

const openssl = chooseBackend("openssl");
const node = chooseBackend("node");

const HEADER = 16;
const ICV = 16;
const PLAIN = 8192;

/** Every implementation of libipsec-mb that this CPU can run. */
const mb = mbImplementations().flatMap((implementation) => {
  const backend = createIpsecMb(implementation);
  return backend === null ? [] : [{ ...backend, label: `ipsec-mb ${implementation}` }];
});
const backends = [{ ...openssl, label: "openssl" }, { ...node, label: "node" }, ...mb];

if (mb.length === 0) test.skip("libipsec-mb (libIPSec_MB.so.1 is not installed)", () => {});
else {
  test("auto takes libipsec-mb where it is installed", (t) => {
    t.is(chooseBackend("auto").name, "ipsec-mb");
  });
}

for (const backend of backends) {
  for (const { name, suite, keymat, plaintext, packet } of VECTORS) {
    test(`${backend.label} seals draft-mcgrew-gcm-test-01 ${name}`, (t) => {
      const slab = new Slab(16384);
      const text = hex(plaintext);
      slab.bytes.set(hex(packet).subarray(0, HEADER), 0);
      slab.bytes.set(text, PLAIN);
      const sealer = backend.sealer(slab, suite, hex(keymat));
      t.true(sealer.seal(0, 8, PLAIN, text.length, HEADER));
      sealer.close();
      t.is(
        Buffer.from(slab.bytes.subarray(0, HEADER + text.length + ICV)).toString("hex"),
        hex(packet).toString("hex"),
      );
    });

    test(`${backend.label} opens draft-mcgrew-gcm-test-01 ${name} in place`, (t) => {
      const slab = new Slab(16384);
      const text = hex(plaintext);
      slab.bytes.set(hex(packet), 0);
      const opener = backend.opener(slab, suite, hex(keymat));
      t.true(opener.open(0, 8, HEADER, text.length, HEADER));
      opener.close();
      t.is(
        Buffer.from(slab.bytes.subarray(HEADER, HEADER + text.length)).toString("hex"),
        text.toString("hex"),
      );
    });
  }

  test(`${backend.label} opens nothing with one bit changed anywhere`, (t) => {
    const slab = new Slab(16384);
    const vector = VECTORS[1] as Vector;
    const packet = hex(vector.packet);
    const opener = backend.opener(slab, vector.suite, hex(vector.keymat));
    for (let bit = 0; bit < packet.length * 8; bit++) {
      slab.bytes.set(packet, 0);
      slab.view.setUint8(bit >>> 3, slab.view.getUint8(bit >>> 3) ^ (1 << (bit & 7)));
      if (opener.open(0, 8, HEADER, packet.length - HEADER - ICV, HEADER)) t.fail(`bit ${bit}`);
    }
    slab.bytes.set(packet, 0);
    t.true(opener.open(0, 8, HEADER, packet.length - HEADER - ICV, HEADER));
    opener.close();
  });
}

for (const suite of Object.keys(SUITES) as SuiteName[]) {
  test(`${suite}: all backends and node:crypto agree byte for byte and open each other's packets`, (t) => {
    const slab = new Slab(65536);
    const next = random(5);
    const keymat = new Uint8Array(keymatSize(suite)).map(() => next());
    const sides: AeadBackend[] = backends;
    const sealers = sides.map((backend) => backend.sealer(slab, suite, keymat));
    const openers = sides.map((backend) => backend.opener(slab, suite, keymat));
    for (let length = 4; length < 1600; length += 1 + (next() % 13)) {
      for (let i = 0; i < HEADER; i++) slab.bytes[i] = next();
      for (let i = 0; i < length; i++) slab.bytes[PLAIN + i] = next();
      const text = Buffer.from(slab.bytes.slice(PLAIN, PLAIN + length));
      const sealed = sealers.map((sealer) => {
        t.true(sealer.seal(0, 8, PLAIN, length, HEADER));
        return Buffer.from(slab.bytes.slice(0, HEADER + length + ICV));
      });
      for (const packet of sealed) t.deepEqual(packet, sealed[1], `length ${length}`);
      for (const opener of openers) {
        slab.bytes.set(sealed[0] as Buffer, 0);
        t.true(opener.open(0, 8, HEADER, length, HEADER));
        t.deepEqual(Buffer.from(slab.bytes.slice(HEADER, HEADER + length)), text);
      }
    }
    for (const each of [...sealers, ...openers]) each.close();
  });
}
