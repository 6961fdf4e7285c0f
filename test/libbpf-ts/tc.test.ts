import test from "ava";
import {
  ArgumentError,
  attachClsact,
  attachTc,
  attachTcx,
  BpfError,
  type BpfObject,
  ClosedError,
  findTc,
  type ObjectProgram,
  removeClsact,
  type TcLink,
  TcxLink,
} from "libbpf-ts";
import { type Netns, withNetns } from "../support/netns.js";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";

const fixtures = fixtureFolder(test);
const TCX_SINCE = "6.6";

/** near (10.9.0.1) --- far (10.9.0.2), each in a namespace; neighbours are fixed, so that a lost ARP costs no time. */
function withPair(body: (left: Netns, ifindex: number) => void): Promise<void> {
  const [nearMac, farMac] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
  return withNetns((left) =>
    withNetns((right) => {
      left.ip(
        `link add name near address ${nearMac} type veth peer name far address ${farMac} netns ${right.name}`,
      );
      left.ip("address add 10.9.0.1/24 dev near");
      right.ip("address add 10.9.0.2/24 dev far");
      left.ip("link set near up");
      right.ip("link set far up");
      left.ip(`neighbour add 10.9.0.2 lladdr ${farMac} dev near`);
      right.ip(`neighbour add 10.9.0.1 lladdr ${nearMac} dev far`);
      body(left, left.ifindex("near"));
    }),
  );
}

function ping(left: Netns, seconds: number): boolean {
  try {
    left.exec("ping", "-c", "1", "-W", String(seconds), "10.9.0.2");
    return true;
  } catch {
    return false;
  }
}

/** A reply ends the wait at once; only a lost packet costs the time. */
const reaches = (left: Netns): boolean => ping(left, 3);
const isBlocked = (left: Netns): boolean => !ping(left, 0.2);

function runs(object: BpfObject): bigint {
  return object.map("counters").lookup(0)?.readBigUInt64LE() ?? 0n;
}

for (const mode of ["tcx", "clsact"] as const) {
  const since = mode === "tcx" ? TCX_SINCE : undefined;
  const attach = (ns: Netns, ifindex: number, program: ObjectProgram): TcLink =>
    ns.run(() => attachTc({ ifindex, direction: "egress", program, mode }));

  kernelTest(
    `${mode}: packets meet the program, its replacement, and none after detach`,
    async (t) => {
      const object = opened(t, await fixtures.object("basics")).load();
      await withPair((left, ifindex) => {
        const link = attach(left, ifindex, object.program("pass"));
        t.is(link.kind, mode);
        t.is(
          left.run(() => link.programId()),
          object.program("pass").info().id,
        );
        t.true(reaches(left));
        left.run(() => link.update(object.program("drop")));
        t.is(
          left.run(() => link.programId()),
          object.program("drop").info().id,
        );
        t.true(isBlocked(left));
        left.run(() => link.detach());
        t.true(reaches(left));
      });
    },
    since,
  );

  kernelTest(
    `${mode}: ingress counts what arrives`,
    async (t) => {
      const object = opened(t, await fixtures.object("basics")).load();
      await withPair((left, ifindex) => {
        const program = object.program("count");
        // count() returns more than TC_ACT_SHOT knows, which tc takes for "unspecified": the packet goes on.
        const link = left.run(() => attachTc({ ifindex, direction: "ingress", program, mode }));
        ping(left, 0.2);
        t.true(runs(object) > 0n);
        left.run(() => link.close());
      });
    },
    since,
  );

  kernelTest(
    `${mode}: what was persisted outlives close and is found again`,
    async (t) => {
      const pin = `${ownBpffs(t)}/link`;
      const object = opened(t, await fixtures.object("basics")).load();
      await withPair((left, ifindex) => {
        const place = { ifindex, direction: "egress", pin } as const;
        t.is(
          left.run(() => findTc(place)),
          undefined,
        );
        const link = attach(left, ifindex, object.program("drop"));
        link.persist(pin);
        left.run(() => link.close());
        t.true(isBlocked(left));
        const found = left.run(() => findTc(place));
        t.is(found?.kind, mode);
        t.is(found?.ifindex, ifindex);
        t.is(found?.direction, "egress");
        left.run(() => found?.update(object.program("pass")));
        t.true(reaches(left));
        left.run(() => found?.detach());
        t.is(
          left.run(() => findTc(place)),
          undefined,
        );
      });
    },
    since,
  );

  kernelTest(
    `${mode}: what was not persisted ends with close, and close may come twice`,
    async (t) => {
      const object = opened(t, await fixtures.object("basics")).load();
      await withPair((left, ifindex) => {
        const link = attach(left, ifindex, object.program("drop"));
        t.true(isBlocked(left));
        left.run(() => {
          link.close();
          link.close();
        });
        t.true(reaches(left));
        t.throws(() => link.programId(), { instanceOf: ClosedError });
        t.throws(() => link.update(object.program("pass")), { instanceOf: ClosedError });
      });
    },
    since,
  );

  kernelTest(
    `${mode}: an unknown device is ENODEV, with the namespace in the hint`,
    async (t) => {
      const object = opened(t, await fixtures.object("basics")).load();
      await withNetns((ns) => {
        const error = t.throws(() => attach(ns, 4242, object.program("pass")), { instanceOf: BpfError });
        t.is(error?.code, "ENODEV");
        t.regex(error?.message ?? "", /network namespace/);
      });
    },
    since,
  );
}

kernelTest(
  "auto takes tcx where the kernel has it",
  async (t) => {
    const object = opened(t, await fixtures.object("basics")).load();
    await withPair((left, ifindex) => {
      using link = left.run(() =>
        attachTc({ ifindex, direction: "egress", program: object.program("pass") }),
      );
      t.is(link.kind, "tcx");
    });
  },
  TCX_SINCE,
);

kernelTest(
  "a program that is first at the hook decides before an older one",
  async (t) => {
    const object = opened(t, await fixtures.object("basics")).load();
    await withPair((left, ifindex) => {
      const place = { ifindex, direction: "egress" } as const;
      using _drop = left.run(() => attachTcx({ ...place, program: object.program("drop") }));
      t.true(isBlocked(left));
      using _pass = left.run(() => attachTcx({ ...place, program: object.program("pass"), order: "first" }));
      t.true(reaches(left));
    });
  },
  TCX_SINCE,
);

kernelTest(
  "a tcx program takes its place before or after another program or link",
  async (t) => {
    const object = opened(t, await fixtures.object("basics")).load();
    await withPair((left, ifindex) => {
      const place = { ifindex, direction: "egress" } as const;
      const [drop, pass] = [object.program("drop"), object.program("pass")];
      using first = left.run(() => attachTcx({ ...place, program: drop }));
      t.true(isBlocked(left));
      const before = left.run(() => attachTcx({ ...place, program: pass, order: { before: first } }));
      t.true(reaches(left));
      before.close();
      using _after = left.run(() => attachTcx({ ...place, program: pass, order: { after: drop } }));
      t.true(isBlocked(left));
      const elsewhere = { ...place, direction: "ingress", program: pass, order: { after: drop } } as const;
      t.throws(() => left.run(() => attachTcx(elsewhere)), {
        instanceOf: BpfError,
        message: /not attached at this hook/,
      });
    });
  },
  TCX_SINCE,
);

kernelTest(
  "a tcx link whose device is gone says so",
  async (t) => {
    const object = opened(t, await fixtures.object("basics")).load();
    await withPair((left, ifindex) => {
      using link = left.run(() =>
        attachTcx({ ifindex, direction: "egress", program: object.program("pass") }),
      );
      left.ip("link del near");
      t.is(link.info().detail[0], 0);
      t.throws(() => link.update(object.program("drop")), { instanceOf: BpfError, message: /ENOLINK/ });
    });
  },
  TCX_SINCE,
);

kernelTest(
  "an XDP program at a tc hook is refused by its type",
  async (t) => {
    const object = opened(t, await fixtures.object("basics")).load();
    await withPair((left, ifindex) => {
      const options = { ifindex, direction: "egress", program: object.program("xdp_pass") } as const;
      t.throws(() => left.run(() => attachTc(options)), {
        instanceOf: ArgumentError,
        message: /SEC\("tc"\)/,
      });
    });
  },
  TCX_SINCE,
);

kernelTest("a pinned map is not taken for a tcx link", async (t) => {
  const pin = `${ownBpffs(t)}/map`;
  const object = opened(t, await fixtures.object("basics")).load();
  object.map("counters").pin(pin);
  t.throws(() => TcxLink.openPinned(pin), { instanceOf: BpfError });
});

kernelTest("clsact: a filter that is there already is never replaced by an attach", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  await withPair((left, ifindex) => {
    const attach = (name: string, priority: number) =>
      left.run(() => attachClsact({ ifindex, direction: "egress", program: object.program(name), priority }));
    const drop = attach("drop", 5);
    t.throws(() => attach("pass", 5), { instanceOf: BpfError, message: /EEXIST.*choose another/ });
    t.true(isBlocked(left));
    attach("pass", 4);
    t.true(reaches(left), "the lower priority decides");
    left.run(() => drop.close());
  });
});

kernelTest("removeClsact takes the qdisc away, and is content where there is none", async (t) => {
  const object = opened(t, await fixtures.object("basics")).load();
  await withPair((left, ifindex) => {
    const program = object.program("drop");
    const link = left.run(() => attachTc({ ifindex, direction: "egress", program, mode: "clsact" }));
    t.regex(left.exec("tc", "qdisc", "show", "dev", "near"), /clsact/);
    left.run(() => removeClsact(ifindex));
    t.notRegex(left.exec("tc", "qdisc", "show", "dev", "near"), /clsact/);
    left.run(() => removeClsact(ifindex));
    t.notThrows(() => left.run(() => link.close()));
  });
});
