import test from "ava";
import { chooseBackend } from "../../src/backends/select.js";
import { parsePolicy } from "../../src/config/index.js";

test("auto leaves a policy with keys of its own to the userspace backend, also where the kernel could serve", (t) => {
  const { policy } = parsePolicy(
    `version: 1
connections:
  a:
    if_id: 1
    esp: {local: 192.0.2.1, remote: 192.0.2.2, suite: aes128-gcm, out: {spi: 256, key: env:OUT}, in: {spi: 257, key: env:IN}}
`,
    "test.yaml",
  );
  t.truthy(policy);
  const { candidates } = chooseBackend("auto", policy ?? undefined);
  for (const { name, available } of candidates) if (name !== "userspace") t.false(available, name);
});
