/**
 * Takes apart what the guest sends over its data channel: what its command prints, passed on as it comes, then
 * a NUL byte, then the archive of its files (see guest-init.ts).
 */
export class DataChannel {
  private readonly archiveParts: Buffer[] = [];
  private inArchive = false;

  private readonly onOutput: (chunk: Buffer) => void;

  constructor(onOutput: (chunk: Buffer) => void) {
    this.onOutput = onOutput;
  }

  push(chunk: Buffer): void {
    if (this.inArchive) {
      this.archiveParts.push(chunk);
      return;
    }
    const end = chunk.indexOf(0);
    this.inArchive = end >= 0;
    const output = end >= 0 ? chunk.subarray(0, end) : chunk;
    if (output.length > 0) this.onOutput(output);
    if (end >= 0) this.archiveParts.push(chunk.subarray(end + 1));
  }

  /** What came after the NUL byte; undefined when the command never ended. */
  archive(): Buffer | undefined {
    return this.inArchive ? Buffer.concat(this.archiveParts) : undefined;
  }
}
