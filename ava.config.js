// Emulated machines keep both cores busy: their file comes when the others are done.
const VM = /\/vm\.test\.[jt]s$/;

export default {
  files: ["test/**/*.test.ts"],
  typescript: { rewritePaths: { "test/": "dist/test/" }, compile: false },
  nodeArguments: ["--enable-source-maps"],
  timeout: "2m",
  // Tests that make network namespaces or attach programs are few and short; two at a time fit two cores.
  concurrency: 2,
  sortTestFiles: (a, b) => VM.test(a) - VM.test(b) || (a < b ? -1 : 1),
};
