import { existsSync, readFileSync } from "node:fs";
import test from "ava";
import { Btf, InvalidObjectError, UnknownNameError } from "libbpf-ts";
import { fixtureFolder, opened } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);
const VMLINUX = "/sys/kernel/btf/vmlinux";

test("a struct's layout, bit fields and anonymous unions included", async (t) => {
  const btf = Btf.parse(readFileSync(await fixtures.object("basics")));
  const { size, members } = btf.struct("pair");
  t.is(size, 16);
  t.deepEqual(
    members.map(({ name, bitOffset, bitSize, type }) => [name, bitOffset, bitSize, type]),
    [
      ["low", 0, 32, "__u32"],
      ["high", 32, 16, "__u16"],
      ["flag", 48, 1, "__u8"],
      ["rest", 49, 7, "__u8"],
      ["wide", 64, 64, "__u64"],
      ["parts", 64, 64, "__u32[2]"],
    ],
  );
});

test("an enum's values", async (t) => {
  const btf = Btf.parse(readFileSync(await fixtures.object("basics")));
  t.deepEqual(
    [...btf.enum("color").values],
    [
      ["RED", 0n],
      ["GREEN", 7n],
    ],
  );
});

test("variables are placed as libbpf places them", async (t) => {
  const path = await fixtures.object("basics");
  const ours = Btf.parse(readFileSync(path));
  const libbpfs = opened(t, path).btf;
  t.deepEqual(ours.datasecs(), libbpfs?.datasecs());
  for (const section of [".rodata", ".data", ".bss", ".maps"]) {
    t.deepEqual(ours.datasec(section), libbpfs?.datasec(section), section);
  }
  const offsets = ours.datasec(".rodata").variables.map((variable) => variable.offset);
  t.is(new Set(offsets).size, offsets.length);
});

test("an unknown struct is answered with the known ones", async (t) => {
  const btf = Btf.parse(readFileSync(await fixtures.object("basics")));
  t.throws(() => btf.struct("nope"), { instanceOf: UnknownNameError, message: /__sk_buff/ });
});

test("BTF cut off at any length is refused with a typed error", async (t) => {
  const whole = readFileSync(await fixtures.object("basics"));
  for (let length = 0; length < whole.length; length += 97) {
    t.throws(() => Btf.parse(whole.subarray(0, length)), { instanceOf: InvalidObjectError });
  }
});

test("raw BTF with a type that refers to itself is refused", (t) => {
  // One typedef "a" of type 1, which is the typedef itself.
  const header = Buffer.alloc(24);
  header.writeUInt16LE(0xeb9f, 0);
  header.writeUInt8(1, 2);
  header.writeUInt32LE(24, 4);
  header.writeUInt32LE(12, 12);
  header.writeUInt32LE(12, 16);
  header.writeUInt32LE(3, 20);
  const type = Buffer.alloc(12);
  type.writeUInt32LE(1, 0);
  type.writeUInt32LE((8 << 24) >>> 0, 4);
  type.writeUInt32LE(1, 8);
  const btf = Btf.parse(Buffer.concat([header, type, Buffer.from("\0a\0")]));
  t.throws(() => btf.sizeOf(1), { instanceOf: InvalidObjectError, message: /refers to itself/ });
});

(existsSync(VMLINUX) ? test : test.skip)(
  `the kernel's own types are read${existsSync(VMLINUX) ? "" : " (needs CONFIG_DEBUG_INFO_BTF)"}`,
  (t) => {
    const btf = Btf.parse(readFileSync(VMLINUX));
    const skb = btf.struct("sk_buff");
    t.is(skb.members.find((member) => member.name === "len")?.type, "unsigned int");
    t.true(skb.size > 100);
    t.is(btf.enum("bpf_map_type").values.get("BPF_MAP_TYPE_HASH"), 1n);
  },
);
