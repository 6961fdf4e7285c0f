import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { directory, file, isFile, readNewc, symlink, writeNewc } from "../../../src/selftest/vm/newc.js";

const ENTRIES = [
  directory("proc"),
  file("bin/busybox", Buffer.from([1, 2, 3]), 0o755),
  symlink("sbin/modprobe", "../bin/busybox"),
  file("empty", ""),
  file("init", "#!/bin/sh\n", 0o755),
];

test("adds the folders that nobody named, before what is in them", (t) => {
  const paths = readNewc(Buffer.concat(writeNewc(ENTRIES))).map(({ path }) => path);
  t.deepEqual(paths, ["proc", "bin", "bin/busybox", "sbin", "sbin/modprobe", "empty", "init"]);
});

test("reads back what it wrote", (t) => {
  const byPath = new Map(readNewc(Buffer.concat(writeNewc(ENTRIES))).map((entry) => [entry.path, entry]));
  for (const entry of ENTRIES) t.deepEqual(byPath.get(entry.path), entry);
  t.deepEqual(
    [...byPath.values()].filter(isFile).map(({ path }) => path),
    ["bin/busybox", "empty", "init"],
  );
});

test("reads back names and contents of any length", (t) => {
  const name = fc.stringMatching(/^[a-z]{1,40}$/);
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 70 })), { selector: ([n]) => n }),
      (list) => {
        const entries = list.map(([path, data]) => file(path, Buffer.from(data)));
        t.deepEqual(readNewc(Buffer.concat(writeNewc(entries))), entries);
      },
    ),
  );
});

test("each archive is a multiple of 4 bytes, so that the kernel finds one behind the other", (t) => {
  for (const size of [0, 1, 2, 3, 4]) {
    t.is(Buffer.concat(writeNewc([file("a", Buffer.alloc(size))])).length % 4, 0);
  }
});

test("busybox's cpio, which a guest uses, unpacks it", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "newc-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const input = Buffer.concat(writeNewc(ENTRIES));
  const { status, stderr } = spawnSync("busybox", ["cpio", "-i", "-H", "newc"], { cwd: folder, input });
  t.is(status, 0, String(stderr));
  t.deepEqual(readFileSync(join(folder, "bin/busybox")), Buffer.from([1, 2, 3]));
  t.is(statSync(join(folder, "init")).mode & 0o777, 0o755);
  t.is(readlinkSync(join(folder, "sbin/modprobe")), "../bin/busybox");
});

test("an archive cut short is an error that says where", (t) => {
  const whole = Buffer.concat(writeNewc([file("a", Buffer.alloc(100))]));
  t.throws(() => readNewc(whole.subarray(0, 150)), { instanceOf: RangeError, message: /a ends at byte/ });
  t.throws(() => readNewc(whole.subarray(0, 230)), { instanceOf: RangeError, message: /no trailer/ });
  t.throws(() => readNewc(Buffer.from("hello")), { instanceOf: RangeError, message: /no member at byte 0/ });
});
