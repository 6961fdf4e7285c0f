import { readFileSync } from "node:fs";
import test from "ava";
import { BpfError, MissingFeatureError, VerifierError } from "libbpf-ts";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";

const fixtures = fixtureFolder(test);

const refusals: [program: string, reason: RegExp, hint: RegExp][] = [
  ["unchecked_packet", /outside of the packet/, /data_end/],
  ["unchecked_lookup", /invalid mem access 'map_value_or_null'/, /NULL/],
];
for (const [program, reason, hint] of refusals) {
  kernelTest(`${program} is refused with the verifier's reason and a hint`, async (t) => {
    const object = opened(t, await fixtures.object("rejected"));
    object.program(program).autoload = true;
    const error = t.throws(() => object.load(), { instanceOf: VerifierError });
    t.is(error?.program, program);
    t.is(error?.code, "EACCES");
    t.regex(error?.message ?? "", reason);
    t.regex(error?.message ?? "", /: \d+: \([0-9a-f]{2}\) r\d/, "the instruction is shown");
    t.regex(error?.message ?? "", /\(\d+ lines omitted\)/);
    t.regex(error?.reason ?? "", reason);
    t.regex(error?.hint ?? "", hint);
    t.regex(error?.log ?? "", /processed \d+ insns/);
  });
}

kernelTest("the C line is named", async (t) => {
  const object = opened(t, await fixtures.object("rejected"));
  object.program("unchecked_packet").autoload = true;
  const error = t.throws(() => object.load(), { instanceOf: VerifierError });
  t.regex(error?.source?.file ?? "", /rejected\.bpf\.c$/);
  t.true((error?.source?.line ?? 0) > 0);
  t.regex(error?.source?.text ?? "", /data\[20\]/);
  t.regex(error?.message ?? "", /rejected\.bpf\.c:\d+/);
});

kernelTest("after a failed load the object says to open it again", async (t) => {
  const object = opened(t, await fixtures.object("rejected"));
  object.program("unchecked_packet").autoload = true;
  t.throws(() => object.load(), { instanceOf: VerifierError });
  t.throws(() => object.load(), { instanceOf: BpfError, message: /open it again/ });
});

kernelTest("a kernel function that no module has is named", async (t) => {
  const object = opened(t, await fixtures.object("lacking"));
  const error = t.throws(() => object.load(), { instanceOf: MissingFeatureError });
  t.regex(error?.feature ?? "", /bpf_no_such_kfunc/);
});

test("a log that closes with a report shows what stands at Reason:", (t) => {
  const log = [
    "0: R1=ctx() R10=fp0",
    "1: (71) r0 = *(u8 *)(r2 +20)",
    "",
    "Report:",
    "  Reason: R2 is too far out",
  ];
  const error = new VerifierError("p", 13, "EACCES", log.join("\n"));
  t.is(error.reason, "Reason: R2 is too far out");
  t.regex(error.message, /Reason: R2 is too far out \(3 lines omitted\)/);
});

for (const program of ["unchecked_packet", "unchecked_lookup", "unchecked_in_function"])
  kernelTest(
    `${program}: where the log has no place, the object tells the same that a kernel from 6.8 on does`,
    async (t) => {
      const path = await fixtures.object("rejected");
      const object = opened(t, path);
      object.program(program).autoload = true;
      const error = t.throws(() => object.load(), { instanceOf: VerifierError });
      t.is(error?.source?.file, "rejected.bpf.c");
      const older = error?.log.replace(/^(; .*) @ .+:\d+$/gm, "$1") ?? "";
      t.deepEqual(new VerifierError(program, 13, "EACCES", older, readFileSync(path)).source, error?.source);
      const bare = older.replace(/^; .*$/gm, "");
      const expected = program === "unchecked_in_function" ? undefined : error?.source;
      t.deepEqual(new VerifierError(program, 13, "EACCES", bare, readFileSync(path)).source, expected);
    },
  );

test("a log of an older kernel gives the C text without its place where the object has none either", (t) => {
  const log =
    "; return data[20];\n1: (71) r0 = *(u8 *)(r2 +20)\ninvalid access to packet\nprocessed 2 insns\n";
  const error = new VerifierError("p", 13, "EACCES", log);
  t.deepEqual(error.source, { text: "return data[20];", file: undefined, line: undefined });
  t.regex(error.message, /1: \(71\).* \| invalid access to packet/);
});
