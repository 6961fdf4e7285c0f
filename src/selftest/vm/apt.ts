import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { command } from "../command.js";
import { VmError } from "./errors.js";

/** Overrides the Debian mirror that is otherwise read from this machine's apt sources. */
export const MIRROR_VARIABLE = "XFRM_STEER_DEBIAN_MIRROR";

// Debian 13 renamed the keyring; both names hold the keys of every supported suite.
const KEYRINGS = [
  "/usr/share/keyrings/debian-archive-keyring.pgp",
  "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/**
 * The Debian mirror in the output of `apt-get indextargets --format "$(SITE)|$(RELEASE)|$(ORIGIN)"`.
 * ORIGIN is empty where the lists were never fetched, as in a fresh container. The security archive is no
 * mirror of the main one, and is passed over.
 */
export function mirrorFromIndexTargets(output: string): string | undefined {
  for (const line of output.split("\n")) {
    const [site, release, origin] = line.split("|");
    if (!site || !release || release.includes("security")) continue;
    if (origin === "Debian" || origin === "") return site;
  }
  return undefined;
}

async function debianMirror(): Promise<string> {
  const given = process.env[MIRROR_VARIABLE];
  if (given) return given;
  let output = "";
  try {
    output = await command("apt-get", ["indextargets", "--format", "$(SITE)|$(RELEASE)|$(ORIGIN)"]);
  } catch (cause) {
    throw new VmError(
      "unavailable",
      "looking for a Debian mirror: apt-get does not work here; give --kernel the path of an unpacked kernel",
      { cause },
    );
  }
  const mirror = mirrorFromIndexTargets(output);
  if (mirror) return mirror;
  throw new VmError(
    "unavailable",
    `looking for a Debian mirror: this machine's apt sources name none; set ${MIRROR_VARIABLE}, or give --kernel the path of an unpacked kernel`,
  );
}

/** apt with lists, sources and downloads of its own, so that the system's stay as they are. */
export class PrivateApt {
  private readonly root: string;
  private readonly progress: (message: string) => void;

  private constructor(root: string, progress: (message: string) => void) {
    this.root = root;
    this.progress = progress;
  }

  /**
   * Fetches the package lists of `suites` into `root`, checked against the system's Debian keyring.
   * @param root an existing directory that the caller removes.
   * @throws VmError "unavailable" when there is no mirror, no keyring, or the lists cannot be fetched.
   */
  static async open(
    root: string,
    suites: readonly string[],
    progress: (message: string) => void,
  ): Promise<PrivateApt> {
    const mirror = await debianMirror();
    const keyring = KEYRINGS.find((file) => existsSync(file));
    if (!keyring) {
      throw new VmError(
        "unavailable",
        "checking Debian's signatures: no Debian keyring here; install debian-archive-keyring",
      );
    }
    await mkdir(join(root, "state/lists/partial"), { recursive: true });
    await mkdir(join(root, "cache/archives/partial"), { recursive: true });
    const sources = suites.map((suite) => `deb [arch=amd64 signed-by=${keyring}] ${mirror} ${suite} main\n`);
    await writeFile(join(root, "sources.list"), sources.join(""));
    const apt = new PrivateApt(root, progress);
    progress(`reading Debian's package lists (${suites.join(", ")})`);
    await apt.apt("apt-get", ["-qq", "update"]);
    return apt;
  }

  /** Names of the packages that match an apt regular expression. */
  async search(pattern: string): Promise<string[]> {
    const output = await this.apt("apt-cache", ["search", "--names-only", pattern]);
    return output.split("\n").flatMap((line) => line.split(" ", 1)[0] || []);
  }

  /** Downloads packages, verified by apt, into `directory` as .deb files. */
  async download(packages: readonly string[], directory: string): Promise<void> {
    await mkdir(directory, { recursive: true });
    this.progress(`downloading ${packages.join(", ")}`);
    await this.apt("apt-get", ["-qq", "download", ...packages], directory);
  }

  private async apt(tool: string, args: readonly string[], cwd = this.root): Promise<string> {
    const options = [
      `Dir::Etc::sourcelist=${join(this.root, "sources.list")}`,
      "Dir::Etc::sourceparts=/dev/null",
      "Dir::Etc::preferencesparts=/dev/null",
      `Dir::State=${join(this.root, "state")}`,
      `Dir::Cache=${join(this.root, "cache")}`,
      // A cache under a private home cannot be entered by the unprivileged user apt would change to.
      "APT::Sandbox::User=root",
      "APT::Update::Error-Mode=any",
    ].flatMap((option) => ["-o", option]);
    try {
      return await command(tool, [...options, ...args], { cwd, timeoutMs: 600_000 });
    } catch (cause) {
      const said = cause instanceof Error ? cause.message.split("\n").slice(0, 4).join("\n") : String(cause);
      throw new VmError("unavailable", `fetching Debian packages: ${said}`, { cause });
    }
  }
}
