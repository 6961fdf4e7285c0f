import test, { type ImplementationFn } from "ava";

/** True where tests may make namespaces and load programs. CI runs as root and skips none of them. */
export const root = process.geteuid?.() === 0;

/** A test that needs root; its title says so where it is skipped. */
export function rootTest(title: string, run: ImplementationFn<[]>): void {
  if (root) test(title, run);
  else test.skip(`${title} (needs root)`, run);
}

/** As rootTest, one after the other with the serial tests of the file. */
export function serialRootTest(title: string, run: ImplementationFn<[]>): void {
  if (root) test.serial(title, run);
  else test.serial.skip(`${title} (needs root)`, run);
}
