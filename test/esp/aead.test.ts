import test from "ava";
import { type AeadBackend, chooseBackend } from "../../src/esp/aead.js";
import { createIpsecMb, mbImplementations } from "../../src/esp/aead-ipsec-mb.js";
import { keymatSize, SUITE_NAMES, SUITES, type SuiteName } from "../../src/esp/suite.js";
import { Slab } from "../../src/sys/slab.js";
import { random } from "./frames.js";
import { whyNoIpsecMb } from "./ipsec-mb.js";

interface Vector {
  readonly name: string;
  readonly suite: SuiteName;
  readonly keymat: string;
  readonly plaintext: string;
  /** SPI, sequence number, IV, ciphertext and ICV. */
  readonly packet: string;
  /** High half of an extended sequence number. */
  readonly sequenceHigh?: number;
}

/** Hexadecimal text of one byte again and again. */
const repeat = (byte: string, count: number): string => byte.repeat(count);

const VECTORS: Vector[] = [
  {
    name: "draft-mcgrew-gcm-test-01 case 1, with an extended sequence number",
    suite: "aes128-gcm",
    keymat: "4c80cdefbb5d10da906ac73c3613a634 2e443b68",
    sequenceHigh: 0x87654321,
    plaintext: `45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000
      00000000045f736970045f756470037369700963796265726369747902646b00
      0021000101020201`,
    packet: `00004321000000004956ed7e3b244cfefecf537e729d5b07dc30df528dd22b76
      8d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d
      15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe72
      2fd04796562dfdb4`,
  },
  {
    name: "RFC 7634 appendix A",
    suite: "chacha20-poly1305",
    keymat: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3",
    plaintext: `45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
      0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
      2425262728292a2b2c2d2e2f303132333435363701020204`,
    packet: `0102030400000005101112131415161724039428b97f417e3c13753a4f05087b
      67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7
      2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da
      9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43`,
  },
  {
    // What is signed is "Hi There", which stands for SPI and sequence number here, and no payload.
    name: "RFC 2202 section 3 test case 1, truncated as RFC 2404 says",
    suite: "null-sha1",
    keymat: repeat("0b", 20),
    plaintext: "",
    packet: "4869205468657265 b617318655057264e28bc0b6",
  },
  {
    name: "RFC 4868 test case AUTH256-1",
    suite: "null-sha256",
    keymat: repeat("0b", 32),
    plaintext: "",
    packet: "4869205468657265 198a607eb44bfbc69903a0f1cf2bbdc5",
  },
  {
    name: "RFC 4868 test case AUTH384-1",
    suite: "null-sha384",
    keymat: repeat("0b", 48),
    plaintext: "",
    packet: "4869205468657265 b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
  },
  {
    name: "RFC 4868 test case AUTH512-1",
    suite: "null-sha512",
    keymat: repeat("0b", 64),
    plaintext: "",
    packet: "4869205468657265 637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
  },
  {
    name: "draft-mcgrew-gcm-test-01 case 2",
    suite: "aes128-gcm",
    keymat: "feffe9928665731c6d6a8f9467308308 cafebabe",
    plaintext: `4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100
      00010000000000000373697009637962 65726369747902646b00000100010001`,
    packet: `0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304
      a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642
      cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a`,
  },
  {
    name: "draft-mcgrew-gcm-test-01 case 3",
    suite: "aes256-gcm",
    keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344",
    plaintext: `4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000
      7002400020bf0000020405b40101040201020201`,
    packet: `4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d
      6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d
      ef842d8eb335f4eecfdbf831824b4c4915956c96`,
  },
  {
    name: "draft-mcgrew-gcm-test-01 case 4",
    suite: "aes128-gcm",
    keymat: "00000000000000000000000000000000 00000000",
    plaintext: `4500003c99c500008001cb7a40679318010101010800075c0200440061626364
      65666768696a6b6c6d6e6f707172737475767761626364656667686901020201`,
    packet: `000000000000000100000000000000004688daf2f973a392732909c331d56d60
      f694abaa414b5e7ff5fdcdfff5e9a284456476492719ffb64de7d9dca1e1d894
      bc3bd57873ed4d181d19d4d5c8c18af3f821d496eeb096e98ad2b69e4799c71d`,
  },
  {
    name: "draft-mcgrew-gcm-test-01 case 7",
    suite: "aes192-gcm",
    keymat: "feffe9928665731c6d6a8f9467308308feffe9928665731c cafebabe",
    plaintext: `45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e
      501016d075680001`,
    packet: `0000a5f80000000afacedbaddecaf888a5b1f8066029aea40e598b8122de0242
      0938b3ab33f828e687b8858b5bfbdbd0315b27452144cc7795457b9652037f53
      18027b5b4cd7a636`,
  },
  {
    name: "draft-mcgrew-gcm-test-01 case 12, the last sequence number and only padding",
    suite: "aes128-gcm",
    keymat: "7d773d00c144c525ac619d18c84a3f47 d9664267",
    plaintext: "01020201",
    packet: "335467aeffffffff43457e9182443bc6437f866bcb3f699fe9b0822bac961c4504bef270",
  },
];

const CBC_VECTORS: (Omit<Vector, "keymat"> & { readonly key: string })[] = [
  {
    name: "RFC 3602 case 5",
    suite: "aes128-cbc-sha256",
    key: "90d382b410eeba7ad938c46cec1a82bf",
    plaintext: `08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617
      18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637010203040506070809 0a0b0c0d0e0e01`,
    packet: `0000432100000001e96e8c08ab465763fd098d45dd3ff893
      f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db08
      0b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6`,
  },
  {
    // SPI and sequence number are ours: what is encrypted does not depend on them.
    name: "NIST SP 800-38A F.2.3 (192 bits, of which RFC 3602 has none)",
    suite: "aes192-cbc-sha1",
    key: "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    plaintext: `6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
      30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710`,
    packet: `0000432100000001 000102030405060708090a0b0c0d0e0f
      4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a
      571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd`,
  },
  {
    name: "NIST SP 800-38A F.2.5 (256 bits, of which RFC 3602 has none)",
    suite: "aes256-cbc-sha256",
    key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    plaintext: `6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
      30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710`,
    packet: `0000432100000001 000102030405060708090a0b0c0d0e0f
      f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d
      39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b`,
  },
];

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

const openssl = chooseBackend("openssl");
const node = chooseBackend("node");

const PLAIN = 8192;
const headerOf = (suite: SuiteName): number => 8 + SUITES[suite].ivSize;

/** Every implementation of libipsec-mb that this CPU can run. */
const mb = mbImplementations().flatMap((implementation) => {
  const backend = createIpsecMb(openssl, [implementation]);
  return backend === null ? [] : [{ ...backend, label: `ipsec-mb ${implementation}` }];
});
const backends = [{ ...openssl, label: "openssl" }, { ...node, label: "node" }, ...mb];

const lacking = whyNoIpsecMb();
(lacking === null ? test : test.skip)(
  `auto takes libipsec-mb where it is installed${lacking === null ? "" : ` (${lacking})`}`,
  (t) => {
    t.is(chooseBackend("auto").name, "ipsec-mb");
    t.not(mb.length, 0);
  },
);

for (const backend of backends) {
  for (const { name, suite, keymat, plaintext, packet, sequenceHigh } of VECTORS) {
    const spec = { suite, esn: sequenceHigh !== undefined, keymat: hex(keymat) };
    const header = headerOf(suite);
    const { icvSize } = SUITES[suite];
    test(`${backend.label} seals ${name}`, (t) => {
      const slab = new Slab(16384);
      const text = hex(plaintext);
      slab.bytes.set(hex(packet).subarray(0, header), 0);
      slab.bytes.set(text, PLAIN);
      const sealer = backend.sealer(slab, spec);
      t.true(sealer.seal(0, sequenceHigh ?? 0, PLAIN, text.length));
      sealer.close();
      t.is(
        Buffer.from(slab.bytes.subarray(0, header + text.length + icvSize)).toString("hex"),
        hex(packet).toString("hex"),
      );
    });

    test(`${backend.label} opens ${name} in place`, (t) => {
      const slab = new Slab(16384);
      const text = hex(plaintext);
      slab.bytes.set(hex(packet), 0);
      const opener = backend.opener(slab, spec);
      t.true(opener.open(0, sequenceHigh ?? 0, text.length));
      opener.close();
      t.is(
        Buffer.from(slab.bytes.subarray(header, header + text.length)).toString("hex"),
        text.toString("hex"),
      );
    });
  }

  for (const { name, suite, key, packet, plaintext } of CBC_VECTORS) {
    test(`${backend.label} encrypts ${name} with AES-CBC`, (t) => {
      const slab = new Slab(16384);
      const text = hex(plaintext);
      const expected = hex(packet);
      // These have no ICV.
      const keymat = Buffer.concat([hex(key), Buffer.alloc(keymatSize(suite) - hex(key).length)]);
      slab.bytes.set(expected.subarray(0, 24), 0);
      slab.bytes.set(text, PLAIN);
      const sealer = backend.sealer(slab, { suite, esn: false, keymat });
      t.true(sealer.seal(0, 0, PLAIN, text.length));
      sealer.close();
      t.deepEqual(Buffer.from(slab.bytes.subarray(0, expected.length)), expected);
    });
  }
}

for (const suite of SUITE_NAMES) {
  const header = headerOf(suite);
  const { icvSize, alignment } = SUITES[suite];
  for (const esn of [false, true]) {
    const numbers = esn ? "extended sequence numbers" : "plain sequence numbers";
    test(`${suite}, ${numbers}: all backends and node:crypto agree byte for byte and open each other's packets`, (t) => {
      const slab = new Slab(65536);
      const next = random(5);
      const keymat = new Uint8Array(keymatSize(suite)).map(() => next());
      const sides: AeadBackend[] = backends;
      const sealers = sides.map((backend) => backend.sealer(slab, { suite, esn, keymat }));
      const openers = sides.map((backend) => backend.opener(slab, { suite, esn, keymat }));
      for (let length = alignment; length < 1600; length += alignment * (1 + (next() % 5))) {
        const high = next();
        for (let i = 0; i < header; i++) slab.bytes[i] = next();
        for (let i = 0; i < length; i++) slab.bytes[PLAIN + i] = next();
        const text = Buffer.from(slab.bytes.slice(PLAIN, PLAIN + length));
        const sealed = sealers.map((sealer) => {
          t.true(sealer.seal(0, high, PLAIN, length));
          return Buffer.from(slab.bytes.slice(0, header + length + icvSize));
        });
        for (const packet of sealed) t.deepEqual(packet, sealed[1], `length ${length}`);
        for (const opener of openers) {
          slab.bytes.set(sealed[0] as Buffer, 0);
          t.true(opener.open(0, high, length));
          t.deepEqual(Buffer.from(slab.bytes.slice(header, header + length)), text);
          slab.bytes.set(sealed[0] as Buffer, 0);
          t.is(
            opener.open(0, (high ^ 1) >>> 0, length),
            !esn,
            "the high half is authenticated if there is one",
          );
        }
      }
      for (const each of [...sealers, ...openers]) each.close();
    });
  }

  test(`${suite}: no backend opens a packet with one bit changed anywhere`, (t) => {
    const slab = new Slab(16384);
    const keymat = new Uint8Array(keymatSize(suite)).fill(3);
    const length = 2 * alignment;
    slab.bytes.fill(5, PLAIN, PLAIN + length);
    const sealer = node.sealer(slab, { suite, esn: false, keymat });
    t.true(sealer.seal(0, 0, PLAIN, length));
    const packet = Buffer.from(slab.bytes.slice(0, header + length + icvSize));
    for (const backend of backends) {
      const opener = backend.opener(slab, { suite, esn: false, keymat });
      for (let bit = 0; bit < packet.length * 8; bit++) {
        slab.bytes.set(packet, 0);
        slab.view.setUint8(bit >>> 3, slab.view.getUint8(bit >>> 3) ^ (1 << (bit & 7)));
        if (opener.open(0, 0, length)) t.fail(`${backend.label}: bit ${bit}`);
      }
      slab.bytes.set(packet, 0);
      t.true(opener.open(0, 0, length), backend.label);
      opener.close();
    }
    sealer.close();
  });
}
