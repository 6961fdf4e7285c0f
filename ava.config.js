export default {
  files: ["test/**/*.test.ts"],
  typescript: { rewritePaths: { "test/": "dist/test/" }, compile: false },
  nodeArguments: ["--enable-source-maps"],
  timeout: "2m",
  // Tests that make network namespaces or attach programs are few and short; two at a time fit two cores.
  concurrency: 2,
};
