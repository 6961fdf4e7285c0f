import { existsSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { loadClassifier } from "../../src/backends/classifier.js";
import { DIRECTIONS, detach, install, programAt } from "../../src/backends/kernel-bpf/hooks.js";
import { PinDir } from "../../src/backends/kernel-bpf/pins.js";
import { compile } from "../../src/compiler/compile.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { type Netns, withNetns } from "../support/netns.js";

const POLICY = parsePolicy("version: 1\nconnections:\n  a: {if_id: 1}\n", "steer.yaml").policy as Policy;
/** Any tc programs do for the hooks: the userspace backend's load on a kernel without xfrm interfaces too. */
const load = () =>
  loadClassifier(
    bpfObjectPath("steer_tun"),
    compile(POLICY, { ifindexesOfGroup: () => [], ifindexOf: () => 1 }),
  );

/** A namespace with a device and its pins. */
interface Fixture {
  readonly ns: Netns;
  readonly ifindex: number;
  readonly pins: PinDir;
}

async function withDevice(t: ExecutionContext, body: (fixture: Fixture) => Promise<void>): Promise<void> {
  await withNetns(async (ns) => {
    ns.ip("link add d0 type veth peer name d1");
    const ifindex = ns.ifindex("d0");
    const pins = ns.run(() => new PinDir(ifindex));
    await pins.make();
    try {
      await body({ ns, ifindex, pins });
    } finally {
      await pins.remove();
    }
    t.false(existsSync(pins.path));
  });
}

const rootTest = process.geteuid?.() === 0 ? test.serial : test.skip;

rootTest("a program at a hook outlives its object, is swapped and is detached; needs root", async (t) => {
  await withDevice(t, async ({ ns, ifindex, pins }) => {
    const at = () => ns.run(() => DIRECTIONS.map((direction) => programAt(ifindex, pins, direction)));
    const put = () => {
      using object = load();
      return DIRECTIONS.map((direction) => {
        const program = object.program(`tun_${direction}`);
        ns.run(() => install(ifindex, pins, direction, program));
        return program.info().id;
      });
    };
    t.deepEqual(at(), [null, null]);
    const first = put();
    t.deepEqual(at(), first);
    const second = put();
    t.notDeepEqual(second, first);
    t.deepEqual(at(), second);
    for (const direction of DIRECTIONS) ns.run(() => detach(ifindex, pins, direction));
    t.deepEqual(at(), [null, null]);
    t.false(existsSync(pins.link("egress")));
  });
});

rootTest(
  "what is pinned for a device that is gone counts for nothing and is swept; needs root",
  async (t) => {
    await withDevice(t, async ({ ns, ifindex, pins }) => {
      using object = load();
      ns.run(() => install(ifindex, pins, "egress", object.program("tun_egress")));
      ns.ip("link del d0");
      t.is(
        ns.run(() => programAt(ifindex, pins, "egress")),
        null,
      );
      t.true(existsSync(pins.path));
      await withDevice(t, async () => {
        t.false(existsSync(pins.path));
      });
    });
  },
);
