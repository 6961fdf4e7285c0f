import { mkdtempSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import anyTest, { type ExecutionContext, type TestFn } from "ava";
import { compile } from "bpf-linker";
import { BpfObject } from "libbpf-ts";

const FIXTURES = "test/libbpf-ts/fixtures";

/** Compiles a fixture into a folder that is removed when the test file ends. */
export function fixtureFolder(test: TestFn): { object(name: string): Promise<string>; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "libbpf-ts-"));
  const made = new Map<string, Promise<string>>();
  test.after.always(() => rmSync(folder, { recursive: true, force: true }));
  const object = (name: string): Promise<string> => {
    const output = join(folder, `${name}.bpf.o`);
    const known =
      made.get(name) ??
      compile(`${FIXTURES}/${name}.bpf.c`, { output, cache: false }).then((result) => result.object);
    made.set(name, known);
    return known;
  };
  return { object, folder };
}

/** Why a test cannot run here; undefined where it can, and then it must pass. */
export function lacking(needs: { root?: boolean; kernel?: string }): string | undefined {
  if (needs.root && process.getuid?.() !== 0) return "needs root";
  if (needs.kernel === undefined) return undefined;
  const [major = 0, minor = 0] = needs.kernel.split(".").map(Number);
  const [haveMajor = 0, haveMinor = 0] = release().split(".").map(Number);
  const older = haveMajor < major || (haveMajor === major && haveMinor < minor);
  return older ? `needs Linux ${needs.kernel}` : undefined;
}

/** A test that talks to the kernel: skipped without root, or before the Linux release that has the feature. */
export function kernelTest(
  title: string,
  body: (t: ExecutionContext) => void | Promise<void>,
  kernel?: string,
): void {
  const reason = lacking({ root: true, ...(kernel === undefined ? {} : { kernel }) });
  if (reason === undefined) anyTest(title, body);
  else anyTest.skip(`${title} (${reason})`, body);
}

/** Opens a fixture; it is closed when the test ends. */
export function opened(t: ExecutionContext, path: string): BpfObject {
  const object = BpfObject.open(path);
  t.teardown(() => object.close());
  return object;
}

/** An empty Ethernet frame. */
export const FRAME = new Uint8Array(64);
