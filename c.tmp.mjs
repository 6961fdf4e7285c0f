import { benchLibbpf } from "./dist/src/bench/libbpf.js";

const r = await benchLibbpf({ runs: 5 });
for (const c of r.cases)
  console.log(c.case, c.subject, Math.round(c.median), c.extra.ratio?.toFixed(2) ?? "");
