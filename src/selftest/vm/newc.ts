/**
 * The "newc" cpio format, in which the kernel takes an initramfs (Documentation/driver-api/early-userspace/
 * buffer-format.rst). Written here rather than by the cpio tool: no tree has to be laid out on disk first, the
 * result depends on the content alone, and cpio is not a standard package of Debian.
 */

/** One member of an archive. `mode` holds type and permissions, as in stat(2). */
export interface CpioEntry {
  /** Without a leading slash. */
  path: string;
  mode: number;
  /** A file's bytes, or a symbolic link's target. */
  data: Buffer;
}

const MAGIC = "070701";
const HEADER_BYTES = 110;
const TRAILER = "TRAILER!!!";

// stat(2) file types.
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

export const directory = (path: string): CpioEntry => ({
  path,
  mode: S_IFDIR | 0o755,
  data: Buffer.alloc(0),
});
export const symlink = (path: string, target: string): CpioEntry => ({
  path,
  mode: S_IFLNK | 0o777,
  data: Buffer.from(target),
});
export const file = (path: string, data: Buffer | string, permissions = 0o644): CpioEntry => ({
  path,
  mode: S_IFREG | permissions,
  data: typeof data === "string" ? Buffer.from(data) : data,
});
export const isFile = (entry: CpioEntry): boolean => (entry.mode & S_IFMT) === S_IFREG;

const padding = (size: number) => Buffer.alloc(-size & 3);

function member(entry: CpioEntry, inode: number): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`);
  const fields = [inode, entry.mode, 0, 0, 1, 0, entry.data.length, 0, 0, 0, 0, name.length, 0];
  const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  return [
    Buffer.from(header),
    name,
    padding(HEADER_BYTES + name.length),
    entry.data,
    padding(entry.data.length),
  ];
}

/**
 * Writes an archive as a list of buffers. Parent directories are added where no entry names them, for the
 * kernel makes none. Archives may be put one behind the other: the kernel unpacks each over the one before.
 */
export function writeNewc(entries: readonly CpioEntry[]): Buffer[] {
  const all = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const parts = entry.path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (!all.has(parent)) all.set(parent, directory(parent));
    }
    all.set(entry.path, entry);
  }
  const buffers = [...all.values()].flatMap((entry, index) => member(entry, index + 1));
  return [...buffers, ...member({ path: TRAILER, mode: 0, data: Buffer.alloc(0) }, 0)];
}

/**
 * Reads one archive.
 * @throws RangeError when it is cut short or no newc archive; how far it got is in the message.
 */
export function readNewc(archive: Buffer): CpioEntry[] {
  const entries: CpioEntry[] = [];
  let at = 0;
  for (;;) {
    if (archive.toString("latin1", at, at + MAGIC.length) !== MAGIC || at + HEADER_BYTES > archive.length) {
      throw new RangeError(
        `cpio archive of ${archive.length} bytes: no member at byte ${at}, and no trailer before`,
      );
    }
    const field = (index: number) => {
      const start = at + MAGIC.length + index * 8;
      return Number.parseInt(archive.toString("latin1", start, start + 8), 16);
    };
    const nameEnd = at + HEADER_BYTES + field(11);
    const path = archive.toString("utf8", at + HEADER_BYTES, nameEnd - 1);
    if (path === TRAILER) return entries;
    const start = nameEnd + (-nameEnd & 3);
    const end = start + field(6);
    if (end > archive.length) {
      throw new RangeError(`cpio archive: ${path} ends at byte ${end} of ${archive.length}`);
    }
    entries.push({ path, mode: field(1), data: archive.subarray(start, end) });
    at = end + (-end & 3);
  }
}
