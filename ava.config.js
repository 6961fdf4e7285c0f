// Emulated machines keep both cores busy: their file comes when the others are done.
const VM = /\/vm\.test\.[jt]s$/;

export default {
  files: ["test/**/*.test.ts"],
  typescript: { rewritePaths: { "test/": "dist/test/" }, compile: false },
  nodeArguments: ["--enable-source-maps"],
  // Of no test ending, which a slow machine may well do for minutes; single steps have limits of their own.
  timeout: "10m",
  // Tests that make network namespaces or attach programs are few and short; two at a time fit two cores.
  concurrency: 2,
  sortTestFiles: (a, b) => VM.test(a) - VM.test(b) || (a < b ? -1 : 1),
};
