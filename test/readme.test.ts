import { readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../src/sys/paths.js";
import { CLI, execute, xfrmSteer } from "./support/cli.js";
import { folderWith } from "./support/folder.js";
import { serialRootTest } from "./support/root-test.js";
import { ip, makeNamespace } from "./sys/namespace.js";

serialRootTest("the README's gateway works as it is written, outside of the clone", async (t) => {
  const readme = readFileSync(path.join(packageRoot, "README.md"), "utf8");
  const gateway = readme.slice(readme.indexOf("## Steer a gateway"), readme.indexOf("## Reference"));
  const [, policy = ""] = /```yaml\n([^`]*)```/.exec(gateway) ?? [];
  const [, commands = ""] = /```sh\n([^`]*)```/.exec(gateway) ?? [];
  const folder = folderWith(t, { "bin/keep": "", "etc/steer.yaml": policy });
  symlinkSync(CLI, path.join(folder, "bin", "xfrm-steer"));
  const script = `set -e\nPATH=${folder}/bin:$PATH\n${commands.replace("/etc/xfrm-steer", `${folder}/etc`)}`;
  const netns = makeNamespace(t);
  t.teardown(() => xfrmSteer("--netns", netns, "unload"));
  ip("-n", netns, "address", "add", "192.0.2.1/24", "dev", "lo");
  const { code, stdout, stderr } = await execute("ip", ["netns", "exec", netns, "bash", "-c", script]);
  t.is(code, 0, stderr);
  t.regex(stdout, /goes to connection branch-b .*rule voice decides.*generation 1.*removed ipsec0\n$/s);
});
