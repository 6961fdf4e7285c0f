import { ENOENT, ENOSPC, ENOTSUPP, EOPNOTSUPP, errnoName } from "./errno.js";
import { ArgumentError, BpfError, MissingFeatureError } from "./errors.js";
import { errnoText, failure } from "./fail.js";
import type { BpfMap } from "./map.js";
import { mapTypeName } from "./map-shape.js";
import { native, optsSize } from "./native.js";

/** Packed entries: `count` keys of keySize bytes, `count` values of valueStride bytes. */
export interface MapBatch {
  readonly keys: Buffer;
  readonly values: Buffer;
  readonly count: number;
}

/** A hash bucket may hold more entries than the chunk; the kernel then says ENOSPC and wants a larger one. */
const MAX_GROWTH = 1 << 20;

function batchFailure(map: BpfMap, op: string, errno: number, done: number, of: number): BpfError {
  if (errno === ENOTSUPP || errno === EOPNOTSUPP) {
    return new MissingFeatureError(op, `batch operations for ${mapTypeName(map.shape.type)} maps`, "5.6", {
      errno,
      hint: "update one by one, or use a newer kernel (5.6; LPM tries and per-CPU arrays later)",
    });
  }
  if (done === 0) return failure(op, errno);
  const code = errnoName(errno);
  return new BpfError(op, {
    code,
    errno,
    found: `${errnoText(errno)} (${code}) after ${done} of ${of} entries`,
  });
}

function entryCount(map: BpfMap, op: string, bytes: number, stride: number): number {
  const count = bytes / stride;
  if (Number.isInteger(count)) return count;
  throw new ArgumentError(op, `${bytes} bytes`, `give a multiple of ${stride}, packed, for map ${map.name}`);
}

export function updateBatch(map: BpfMap, keys: ArrayBufferView, values: ArrayBufferView): number {
  const op = `update map ${map.name} in a batch`;
  const count = entryCount(map, op, keys.byteLength, map.shape.keySize);
  if (values.byteLength !== count * map.valueStride) {
    throw new ArgumentError(
      op,
      `${count} keys with ${values.byteLength} bytes of values`,
      `a value has ${map.valueStride} bytes`,
    );
  }
  if (count === 0) return 0;
  const done = new Uint32Array([count]);
  // elem_flags other than BPF_F_LOCK are EINVAL (kernel/bpf/syscall.c, generic_map_update_batch).
  const opts = { sz: optsSize.batch, elem_flags: 0, flags: 0 };
  const code = native().mapUpdateBatch(map.fd, keys, values, done, opts);
  if (code < 0) throw batchFailure(map, op, -code, done[0] === count ? 0 : (done[0] ?? 0), count);
  return count;
}

export function deleteBatch(map: BpfMap, keys: ArrayBufferView): number {
  const op = `delete from map ${map.name} in a batch`;
  const count = entryCount(map, op, keys.byteLength, map.shape.keySize);
  if (count === 0) return 0;
  const done = new Uint32Array([count]);
  const code = native().mapDeleteBatch(map.fd, keys, done, null);
  if (code < 0) throw batchFailure(map, op, -code, done[0] === count ? 0 : (done[0] ?? 0), count);
  return count;
}

export function* lookupBatches(map: BpfMap, chunk: number): Generator<MapBatch> {
  const op = `read map ${map.name} in batches`;
  const { keySize } = map.shape;
  const stride = map.valueStride;
  // The cursor is a bucket number for hash maps and a key for the others.
  let from: Buffer | null = null;
  let size = Math.min(chunk, Math.max(map.shape.maxEntries, 1));
  for (;;) {
    const next = Buffer.alloc(Math.max(keySize, 4));
    const keys = Buffer.alloc(size * keySize);
    const values = Buffer.alloc(size * stride);
    const done = new Uint32Array([size]);
    const code: number = native().mapLookupBatch(map.fd, from, next, keys, values, done, null);
    if (-code === ENOSPC && size < MAX_GROWTH) {
      size *= 2;
      continue;
    }
    if (code < 0 && -code !== ENOENT) throw batchFailure(map, op, -code, 0, 0);
    const count = done[0] ?? 0;
    if (count > 0) {
      yield { keys: keys.subarray(0, count * keySize), values: values.subarray(0, count * stride), count };
    }
    if (-code === ENOENT) return;
    from = next;
  }
}
