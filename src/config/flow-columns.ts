import type { FlowRow } from "./flow-row.js";
import type { ExactFlows, FlowSubnets } from "./policy.js";

type Columns = Readonly<Record<string, Uint8Array | Uint32Array>>;

/** A typed array that grows. */
class Column<A extends Uint8Array | Uint32Array> {
  readonly #make: (length: number) => A;
  #values: A;
  #length = 0;

  constructor(make: (length: number) => A) {
    this.#make = make;
    this.#values = make(1024);
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = this.#make(2 * this.#length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length++] = value;
  }

  /** The values in an array of their own, of exactly their number. */
  take(): A {
    const values = this.#values.slice(0, this.#length) as A;
    this.#values = this.#make(0);
    return values;
  }
}

const bytes = () => new Column((length) => new Uint8Array(length));
const words = () => new Column((length) => new Uint32Array(length));

function takeAll<C extends Record<string, { take(): Uint8Array | Uint32Array }>>(columns: C) {
  return Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column.take()])) as {
    [K in keyof C]: ReturnType<C[K]["take"]>;
  } & Columns;
}

/** Collects the subnets of one family. */
export class SubnetColumns {
  readonly #size: number;
  readonly #columns = {
    words: words(),
    length: bytes(),
    connection: words(),
    file: bytes(),
    line: words(),
  };

  /** @param size words of an address */
  constructor(size: 1 | 4) {
    this.#size = size;
  }

  push({ dst, connection }: FlowRow, file: number, line: number): void {
    for (let i = 0; i < this.#size; i++) this.#columns.words.push(dst.words[i] as number);
    this.#columns.length.push(dst.length);
    this.#columns.connection.push(connection);
    this.#columns.file.push(file);
    this.#columns.line.push(line);
  }

  take(): FlowSubnets {
    return takeAll(this.#columns);
  }
}

/** Collects the exact flows of one family. */
export class ExactColumns {
  readonly #size: number;
  readonly #columns = {
    src: words(),
    dst: words(),
    proto: bytes(),
    ports: words(),
    connection: words(),
    file: bytes(),
    line: words(),
  };

  constructor(size: 1 | 4) {
    this.#size = size;
  }

  push(row: FlowRow, file: number, line: number): void {
    for (let i = 0; i < this.#size; i++) this.#columns.src.push(row.src.words[i] as number);
    for (let i = 0; i < this.#size; i++) this.#columns.dst.push(row.dst.words[i] as number);
    this.#columns.proto.push(row.proto);
    this.#columns.ports.push(row.ports);
    this.#columns.connection.push(row.connection);
    this.#columns.file.push(file);
    this.#columns.line.push(line);
  }

  take(): ExactFlows {
    return takeAll(this.#columns);
  }
}
