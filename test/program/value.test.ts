import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { compile } from "bpf-linker";
import { Btf } from "libbpf-ts";
import { encodeValue } from "../../src/program/value.js";

const SOURCE = `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct lpm { __u32 length; __u8 address[4]; };
struct pair { __u16 low; __s64 high; };
enum colour { RED, GREEN = 7 };
const volatile __u32 u32 = 0;
const volatile __s16 s16 = 0;
const volatile _Bool flag = 0;
const volatile enum colour colour = RED;
const volatile __u16 list[3] = {};
const volatile char name[8] = {};
const volatile __u8 address[16] = {};
const volatile struct lpm lpm = {};
const volatile struct pair pair = {};
__u64 SEC("tc") use(void *c) { return u32 + s16 + flag + colour + list[1] + name[1] + address[1] + lpm.length + pair.low; }
`;

let btf: Btf;

test.before(async () => {
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-test-"));
  try {
    const source = join(folder, "types.bpf.c");
    writeFileSync(source, SOURCE);
    const { object } = await compile(source, { output: join(folder, "types.o"), cache: false });
    btf = Btf.parse(await readFile(object));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const encode = (name: string, ...values: string[]) => {
  const { typeId } = btf.datasec(".rodata").variables.find((each) => each.name === name) as {
    typeId: number;
  };
  return encodeValue(btf, typeId, values, name).toString("hex");
};

const encodes = test.macro({
  exec: (t, [name, ...values]: string[], hex: string) => t.is(encode(name as string, ...values), hex),
  title: (why, [name, ...values]: string[]) => `${values.join(",")} as ${name}${why ? `: ${why}` : ""}`,
});

test(encodes, ["u32", "10"], "0a000000");
test(encodes, ["u32", "0xfffefdfc"], "fcfdfeff");
test("an IPv4 address in 4 bytes is in network order", encodes, ["u32", "10.1.2.3"], "0a010203");
test(encodes, ["s16", "-2"], "feff");
test(encodes, ["flag", "true"], "01");
test(encodes, ["colour", "7"], "07000000");
test("what a list leaves out is 0", encodes, ["list", "1", "2"], "010002000000");
test("text is filled up with zeroes", encodes, ["name", "abc"], "6162630000000000");
test(encodes, ["address", "fd00::1"], "fd000000000000000000000000000001");
test("a struct takes its members in order", encodes, ["lpm", "24", "10.1.2.0"], "180000000a010200");
test("padding stays 0", encodes, ["pair", "1", "-1"], "0100000000000000ffffffffffffffff");

const refuses = test.macro({
  exec: (t, [name, ...values]: string[], said: RegExp) => {
    t.throws(() => encode(name as string, ...values), { name: "ProgramError", message: said });
  },
  title: (_, [name, ...values]: string[]) => `${values.join(",")} is refused as ${name}`,
});

test(refuses, ["u32", "4294967296"], /u32: "4294967296" does not fit __u32; write a whole number of 32 bits/);
test(refuses, ["u32", "-1"], /does not fit/);
test(refuses, ["u32", "ten"], /"ten"/);
test(refuses, ["s16", "32768"], /with sign/);
test(refuses, ["list", "1", "2", "3", "4"], /given 4 values, but __u16\[3\] takes 3/);
test(refuses, ["name", "longer than that"], /text of at most 8 bytes/);
test(refuses, ["lpm", "24", "10.1.2"], /"10\.1\.2"|at most 4 bytes/);
