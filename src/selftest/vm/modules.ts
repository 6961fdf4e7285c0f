import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Kernel } from "./kernel.js";
import { type CpioEntry, file } from "./newc.js";

/**
 * What scenarios need beyond what Debian's cloud kernels have built in. Most load on demand by alias, as on a
 * real system. A name that a kernel lacks (built in, or not yet written) is passed over.
 */
export const GUEST_MODULES = [
  ...["veth", "dummy", "tun", "vrf", "ip_vti", "ip6_vti"],
  ...["xfrm_user", "xfrm_interface", "esp4", "esp6", "esp4_offload", "esp6_offload"],
  ...["xfrm4_tunnel", "xfrm6_tunnel", "ipcomp", "ipcomp6", "ah4", "ah6"],
  ...["sch_ingress", "sch_fq", "sch_netem", "cls_bpf", "cls_u32", "cls_flower", "cls_matchall", "act_bpf"],
  ...["act_mirred", "act_gact", "ip6_tables", "nf_tables", "nft_chain_nat"],
  // AES-GCM asks for ghash by an alias that only resolves when one of these is there.
  ...["gcm", "ghash_generic", "ghash_clmulni_intel", "aesni_intel", "ctr", "cbc", "seqiv", "echainiv"],
  ...["authenc", "authencesn", "sha256_generic", "sha1_generic", "hmac", "crypto_null", "chacha20poly1305"],
  ...["chacha", "chacha_generic", "chacha_x86_64", "poly1305_generic", "poly1305_x86_64", "ecb"],
  // Where 6.1 gets random numbers for an SA's IV generator.
  ...["drbg", "jitterentropy_rng", "sha512_generic"],
];

const COMPRESSED = /\.ko\.(xz|zst|gz)$/;
const DECOMPRESSOR: Record<string, string> = { xz: "xz", zst: "zstd", gz: "gzip" };

/** The name modprobe knows a module file by: no folder, no suffix, "_" for "-". */
export function moduleName(path: string): string {
  return (path.split("/").at(-1) as string).replace(/\.ko(\.\w+)?$/, "").replaceAll("-", "_");
}

/** Parses modules.dep: each module file to those it needs, in the order that depmod gave. */
export function parseDependencies(modulesDep: string): Map<string, string[]> {
  const dependencies = new Map<string, string[]>();
  for (const line of modulesDep.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0)
      dependencies.set(
        line.slice(0, colon),
        line
          .slice(colon + 1)
          .split(" ")
          .filter(Boolean),
      );
  }
  return dependencies;
}

/** The files of the named modules and of all they need. depmod's lists are closed already. */
export function moduleClosure(dependencies: Map<string, string[]>, names: readonly string[]): Set<string> {
  const wanted = new Set(names);
  const files = new Set<string>();
  for (const [path, needs] of dependencies) {
    if (!wanted.has(moduleName(path))) continue;
    for (const each of [path, ...needs]) files.add(each);
  }
  return files;
}

/** A modules.alias or modules.softdep without the lines of modules that are not there: modprobe reads it whole. */
export function filterAliases(text: string, names: ReadonlySet<string>): string {
  const kept = text.split("\n").filter((line) => {
    const words = line.split(" ");
    return names.has((words[0] === "alias" ? words.at(-1) : words[1]) ?? "");
  });
  return kept.map((line) => `${line}\n`).join("");
}

/** lib/modules/RELEASE for the guest: {@link GUEST_MODULES} with what they need, uncompressed, for modprobe. */
export async function moduleEntries(kernel: Kernel): Promise<CpioEntry[]> {
  const read = (name: string) => readFile(join(kernel.modules, name), "utf8");
  const dependencies = parseDependencies(await read("modules.dep"));
  const paths = moduleClosure(dependencies, GUEST_MODULES);
  const names = new Set([...paths].map(moduleName));
  const root = `lib/modules/${kernel.release}`;
  const plain = (path: string) => path.replace(COMPRESSED, ".ko");
  const entries: CpioEntry[] = [];
  for (const path of paths) {
    entries.push(file(`${root}/${plain(path)}`, await readModule(join(kernel.modules, path))));
  }
  const lines = [...paths].map(
    (path) => `${plain(path)}: ${(dependencies.get(path) ?? []).map(plain).join(" ")}\n`,
  );
  entries.push(file(`${root}/modules.dep`, lines.join("")));
  for (const name of ["modules.alias", "modules.softdep"]) {
    entries.push(file(`${root}/${name}`, filterAliases(await read(name), names)));
  }
  entries.push(file(`${root}/modules.builtin`, await read("modules.builtin")));
  return entries;
}

async function readModule(path: string): Promise<Buffer> {
  const [, suffix] = path.match(COMPRESSED) ?? [];
  const tool = suffix && DECOMPRESSOR[suffix];
  if (!tool) return readFile(path);
  const options = { encoding: "buffer", maxBuffer: 64 << 20 } as const;
  return (await promisify(execFile)(tool, ["-dc", path], options)).stdout;
}
