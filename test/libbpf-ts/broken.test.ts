import test from "ava";
import { fixtureFolder } from "./support/bpf-test.js";
import { runModule } from "./support/child.js";

const fixtures = fixtureFolder(test);
const WANTED = 200;

test("200 broken objects are refused with a typed error each, and none ends the process", async (t) => {
  // In a process of its own: a crash would end it, and say at which seed.
  const output = runModule(`
    import { readFileSync } from "node:fs";
    import { BpfError, BpfObject, Btf, generateModule } from "libbpf-ts";
    import { mutate } from "./dist/test/libbpf-ts/support/mutate.js";
    const whole = readFileSync(${JSON.stringify(await fixtures.object("typed"))});
    const counts = {};
    let refused = 0;
    for (let seed = 1; refused < ${WANTED}; seed++) {
      const bytes = mutate(whole, seed);
      const errors = [() => Btf.parse(bytes), () => generateModule(bytes), () => BpfObject.open(bytes).close()].map((use) => {
        try {
          use();
          return undefined;
        } catch (error) {
          if (!(error instanceof BpfError)) throw new Error("seed " + seed, { cause: error });
          return error.name;
        }
      });
      const [error] = errors.filter((name) => name !== undefined);
      if (error !== undefined) refused++;
      counts[error] = (counts[error] ?? 0) + 1;
    }
    console.log(JSON.stringify(counts));
  `);
  const { undefined: unharmed = 0, InvalidObjectError: invalid = 0, ...others } = JSON.parse(output);
  t.deepEqual(others, {});
  t.is(invalid, WANTED);
  t.log(`${unharmed} more mutations hit nothing that matters (debug information, code)`);
});
