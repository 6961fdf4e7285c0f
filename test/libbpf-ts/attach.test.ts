import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import {
  ArgumentError,
  attach,
  attachCgroup,
  attachNetns,
  attachXdp,
  BpfError,
  BpfLink,
  type BpfObject,
  ClosedError,
  MissingFeatureError,
  MissingRightsError,
  readIterator,
} from "libbpf-ts";
import { type Netns, withNetns } from "../support/netns.js";
import { fixtureFolder, kernelTest, opened } from "./support/bpf-test.js";
import { ownBpffs } from "./support/bpffs.js";
import { runModule } from "./support/child.js";
import { getppid } from "./support/libc.js";

const fixtures = fixtureFolder(test);
const hits = (object: BpfObject): bigint => object.bss.get("hits") as bigint;

function pings(ns: Netns, address = "127.0.0.1"): boolean {
  try {
    ns.exec("ping", "-c", "1", "-W", "0.2", address);
    return true;
  } catch {
    return false;
  }
}

/** Loads the fixture with one of its tracing programs, which counts this process. */
async function tracing(t: ExecutionContext, program: string): Promise<BpfObject> {
  const object = opened(t, await fixtures.object("hooks"));
  object.rodata.set("process", process.pid);
  object.program(program).autoload = true;
  return object.load();
}

kernelTest("XDP: packets meet the program, its replacement, and none after the link is closed", async (t) => {
  const object = opened(t, await fixtures.object("hooks")).load();
  await withNetns((ns) => {
    const ifindex = ns.ifindex("lo");
    const link = ns.run(() => attachXdp({ ifindex, program: object.program("xdp_pass"), mode: "generic" }));
    t.true(pings(ns));
    t.true(hits(object) > 0n);
    link.update(object.program("xdp_drop"));
    t.is(link.info().programId, object.program("xdp_drop").info().id);
    t.false(pings(ns));
    link.close();
    t.true(pings(ns));
    t.throws(() => link.info(), { instanceOf: ClosedError });
  });
});

kernelTest(
  "XDP: a second program, a missing device and a program of another type are refused with the reason",
  async (t) => {
    const object = opened(t, await fixtures.object("hooks")).load();
    await withNetns((ns) => {
      const program = object.program("xdp_pass");
      const ifindex = ns.ifindex("lo");
      const at = (options: Partial<Parameters<typeof attachXdp>[0]>) =>
        ns.run(() => attachXdp({ ifindex, program, mode: "generic", ...options }));
      using _first = at({});
      t.throws(() => at({}), { instanceOf: BpfError, message: /EBUSY\); another XDP program/ });
      t.throws(() => at({ ifindex: 999_999 }), { instanceOf: BpfError, message: /no such device/ });
      t.throws(() => at({ program: object.program("cgroup_pass") }), {
        instanceOf: ArgumentError,
        message: /cgroup_skb program; make it SEC\("xdp"\)/,
      });
      t.throws(() => at({ mode: "native" }), { instanceOf: BpfError });
    });
  },
);

kernelTest("a pinned link outlives the process that made it, and is replaced from another", async (t) => {
  const pin = `${ownBpffs(t)}/link`;
  const path = await fixtures.object("hooks");
  const object = opened(t, path).load();
  await withNetns((ns) => {
    runModule(
      `
      import { attachXdp, BpfObject } from "libbpf-ts";
      const object = BpfObject.open(${JSON.stringify(path)}).load();
      attachXdp({ ifindex: ${ns.ifindex("lo")}, program: object.program("xdp_drop"), mode: "generic" }).pin(${JSON.stringify(pin)});
    `,
      {},
      ["nsenter", `--net=/run/netns/${ns.name}`],
    );
    t.false(pings(ns));
    const link = BpfLink.openPinned(pin);
    link.update(object.program("xdp_pass"));
    t.true(pings(ns));
    link.detach();
    t.is(link.info().programId, object.program("xdp_pass").info().id);
    link.close();
  });
});

/** Where control groups of version 2 are mounted. */
const cgroups = readFileSync("/proc/mounts", "utf8")
  .split("\n")
  .map((line) => line.split(" "))
  .find(([, , type]) => type === "cgroup2")?.[1];

(cgroups === undefined ? test.skip : kernelTest)(
  `cgroup_skb: a process in the group meets the program, one outside does not${cgroups === undefined ? " (needs cgroup2)" : ""}`,
  async (t: ExecutionContext) => {
    const cgroup = `${cgroups}/test-${process.pid}-${randomBytes(4).toString("hex")}`;
    mkdirSync(cgroup);
    t.teardown(() => rmdirSync(cgroup));
    const object = opened(t, await fixtures.object("hooks")).load();
    const inGroup = (ns: Netns): boolean => {
      try {
        execFileSync(
          "sh",
          [
            "-c",
            `echo $$ > ${cgroup}/cgroup.procs; exec ip netns exec ${ns.name} ping -c 1 -W 0.2 127.0.0.1`,
          ],
          {
            stdio: "ignore",
          },
        );
        return true;
      } catch {
        return false;
      }
    };
    await withNetns((ns) => {
      using link = attachCgroup({ cgroup, program: object.program("cgroup_drop") });
      t.false(inGroup(ns));
      t.true(hits(object) > 0n);
      t.true(pings(ns));
      link.update(object.program("cgroup_pass"));
      t.true(inGroup(ns));
    });
    t.throws(() => attachCgroup({ cgroup: "/nowhere", program: object.program("cgroup_drop") }), {
      instanceOf: BpfError,
      message: /ENOENT.*cgroup2/,
    });
  },
);

kernelTest("sk_lookup: a connection to one port reaches the socket that listens on another", async (t) => {
  const path = await fixtures.object("hooks");
  await withNetns((ns) => {
    const output = runModule(
      `
      import { once } from "node:events";
      import { connect, createServer } from "node:net";
      import { attachNetns, BpfObject } from "libbpf-ts";
      const object = BpfObject.open(${JSON.stringify(path)});
      object.rodata.set("steered_port", 7777);
      object.load();
      const server = createServer((socket) => socket.end("from 7000")).listen(7000, "127.0.0.1");
      await once(server, "listening");
      object.map("sockets").update(0, new BigUint64Array([BigInt(server._handle.fd)]));
      const link = attachNetns({ program: object.program("steer") });
      const socket = connect(7777, "127.0.0.1");
      for await (const text of socket) console.log(String(text));
      link.close();
      const [error] = await once(connect(7777, "127.0.0.1"), "error");
      console.log(error.code);
      try { attachNetns({ program: object.program("xdp_pass") }); } catch (error) { console.log(error.name); }
      server.close();
    `,
      {},
      ["nsenter", `--net=/run/netns/${ns.name}`],
    );
    t.is(output, "from 7000\nECONNREFUSED\nArgumentError");
  });
});

kernelTest("LWT: a route takes a pinned program", async (t) => {
  const pin = `${ownBpffs(t)}/lwt`;
  const object = opened(t, await fixtures.object("hooks")).load();
  object.program("lwt_drop").pin(pin);
  await withNetns((ns) => {
    ns.ip("address add 10.8.0.1/32 dev lo");
    ns.ip(`route add 10.9.0.0/24 encap bpf out pinned ${pin} dev lo`);
    pings(ns, "10.9.0.1");
    t.true(hits(object) > 0n);
  });
});

/** Whether the program soon runs no more: a process that another test is starting holds copies of what was closed until its exec. */
async function isQuiet(object: BpfObject): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const before = hits(object);
    getppid();
    if (hits(object) === before) return true;
    await delay(10);
  }
  return false;
}

for (const name of ["raw_tracepoint", "btf_tracepoint", "user_function"] as const) {
  kernelTest(`tracing: ${name} runs while it is attached`, async (t) => {
    const object = await tracing(t, name);
    const link = attach(object.program(name));
    getppid();
    t.true(hits(object) > 0n);
    link.close();
    t.true(await isQuiet(object));
    t.throws(() => link.fd, { instanceOf: ClosedError });
  });
}

/** Where libbpf looks for events; most systems mount it at boot. */
const TRACEFS = "/sys/kernel/tracing";
const hasTracefs = /\ttracefs$/m.test(readFileSync("/proc/filesystems", "utf8"));
(hasTracefs ? kernelTest : test.skip)(
  `tracing: a tracepoint of a system call${hasTracefs ? "" : " (needs a kernel with tracefs)"}`,
  async (t: ExecutionContext) => {
    if (!existsSync(`${TRACEFS}/events`)) {
      execFileSync("mount", ["-t", "tracefs", "tracefs", TRACEFS]);
      t.teardown(() => execFileSync("umount", [TRACEFS]));
    }
    const object = await tracing(t, "tracepoint");
    using _link = attach(object.program("tracepoint"));
    getppid();
    t.true(hits(object) > 0n);
  },
);

/** Of the fixture's function_entry. */
const TRACED = "bpf_prog_test_run_xdp";

/** Whether ftrace says that it can trace a function: where it does, so must a program. */
function ftraceLists(name: string): boolean {
  const own = mkdtempSync(join(tmpdir(), "tracefs-"));
  try {
    execFileSync("mount", ["-t", "tracefs", "tracefs", own], { stdio: "ignore" });
    try {
      // Some kernels refuse to be asked (EPERM), and refuse the program as well.
      return readFileSync(`${own}/available_filter_functions`, "utf8").split("\n").includes(name);
    } finally {
      execFileSync("umount", [own]);
    }
  } catch {
    return false;
  } finally {
    rmdirSync(own);
  }
}

kernelTest(
  "tracing: a function's entry is traced where ftrace lists it; elsewhere EPERM is told",
  async (t) => {
    const object = opened(t, await fixtures.object("hooks"));
    object.rodata.set("process", process.pid);
    object.program("function_entry").autoload = true;
    try {
      object.load();
    } catch (error) {
      t.false(ftraceLists(TRACED), (error as Error).message);
      if (!(error instanceof MissingRightsError)) throw error;
      t.deepEqual([error.code, error.errno], ["EPERM", constants.errno.EPERM]);
      t.regex(error.message, /not permitted; the process is root/);
      return;
    }
    using _link = attach(object.program("function_entry"));
    object.program("xdp_pass").testRun({ data: new Uint8Array(64) });
    t.true(hits(object) > 1n);
  },
);

kernelTest("an iterator writes what its program says", async (t) => {
  const object = await tracing(t, "list_maps");
  using link = attach(object.program("list_maps"));
  t.regex(readIterator(link).toString(), /^(map\n)+$/);
});

kernelTest(
  "a tracepoint that the kernel has not, and a section without a place, each have their error",
  async (t) => {
    const object = await tracing(t, "nowhere");
    t.throws(() => attach(object.program("nowhere")), {
      instanceOf: MissingFeatureError,
      message: /no_such_tracepoint/,
    });
    t.throws(() => attach(object.program("xdp_pass")), { instanceOf: ArgumentError, message: /attachXdp/ });
  },
);

kernelTest("netns: a namespace that is not there is named", async (t) => {
  const object = opened(t, await fixtures.object("hooks")).load();
  t.throws(() => attachNetns({ program: object.program("steer"), netns: "/run/netns/none" }), {
    instanceOf: BpfError,
    message: /\/run\/netns\/none: cannot open it \(ENOENT\)/,
  });
});
