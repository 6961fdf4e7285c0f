import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { selftest } from "../../../src/selftest/selftest.js";
import { vmTest } from "./needs-vm.js";

// This file runs from dist/test/selftest/vm; scenario files are used as their author wrote them.
const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

vmTest(
  "scenario files in TypeScript run in a VM; a wrong expectation is told with what was seen",
  async (t) => {
    t.timeout(240_000);
    let ktap = "";
    const code = await selftest({
      files: ["examples/own-scenario/office.ts", "test/selftest/fixtures/wrong-if-id.ts"].map((file) =>
        join(ROOT, file),
      ),
      kernel: "6.12",
      write: (text) => {
        ktap += text;
      },
    });
    t.is(code, 1, ktap);
    t.regex(ktap, /^ok 1 office-is-reached-by-if-id-7$/m);
    t.regex(ktap, /^not ok 2 wrong-if-id-in-the-expectation$/m);
    t.regex(
      ktap,
      /^# if_ids of the SAs that carried packets\n# expected: \[ 8, 8 \]\n# seen: {5}\[ 7, 7 \]$/m,
    );
    t.regex(ktap, /^# counters of hub:\n# {3}SA .* spi 0x70[01] if_id 7 tunnel: 3 packets/m);
    t.regex(ktap, /^# {3}ipsec0: rxPackets 3, txPackets 3$/m);
  },
);
