import { innerMtu, type Mode, SUITE_NAMES, type SuiteName } from "../../../esp/index.js";

type Family = 4 | 6;

/** One combination that both implementations have to agree on. */
export interface Cell {
  /** 1 and up: the connection's if_id, and what its addresses are numbered by. */
  readonly index: number;
  readonly mode: Mode;
  readonly suite: SuiteName;
  readonly inner: Family;
  readonly outer: Family;
  readonly esn: boolean;
  readonly encapsulation: "udp" | "none";
}

const FAMILIES: readonly Family[] = [4, 6];

/** Every suite x family pair x ESN on and off x UDP and bare of a mode. Transport mode has no second family. */
export function cellsOf(mode: Mode): Cell[] {
  const cells: Cell[] = [];
  for (const suite of SUITE_NAMES)
    for (const inner of FAMILIES)
      for (const outer of mode === "transport" ? [inner] : FAMILIES)
        for (const esn of [false, true])
          for (const encapsulation of ["udp", "none"] as const)
            cells.push({ index: cells.length + 1, mode, suite, inner, outer, esn, encapsulation });
  return cells;
}

export function cellName({ mode, suite, inner, outer, esn, encapsulation }: Cell): string {
  return `${mode} ${suite} ${inner}-in-${outer}${esn ? " esn" : ""} ${encapsulation === "udp" ? "udp" : "bare"}`;
}

export const ESP_PORT = 4500;
/** Both ports of what the cells carry. */
export const DATAGRAM_PORT = 9;
/** MTU of the link between the two. */
export const UNDERLAY_MTU = 1500;

/** The largest inner packet that passes unfragmented, in bytes. */
export const fillingSize = ({ suite, mode, encapsulation, inner, outer }: Cell): number =>
  innerMtu(UNDERLAY_MTU, { suite, mode, encapsulation, outerFamily: outer, innerFamily: inner });

export type End = "ours" | "kernel";

/** What an end's addresses have in common. */
export const NUMBER: Readonly<Record<End, number>> = { ours: 1, kernel: 2 };

/** Addresses of the link. */
export const LINK: Readonly<Record<End, Readonly<Record<Family, string>>>> = {
  ours: { 4: "172.16.0.1", 6: "fd00:16::1" },
  kernel: { 4: "172.16.0.2", 6: "fd00:16::2" },
};

/** Prefixes of the cells' own addresses, which are inner ones or, in transport mode, the only ones. */
export const prefix = (end: End, family: Family): string =>
  family === 4 ? `10.${NUMBER[end]}.0.0/16` : `fd00:${NUMBER[end]}::/64`;

/** The address that stands for a cell at an end. */
export function cellAddress({ index, inner }: Cell, end: End): string {
  return inner === 4
    ? `10.${NUMBER[end]}.${index >> 8}.${index & 255}`
    : `fd00:${NUMBER[end]}::${index.toString(16)}`;
}

/** Where ESP packets of a cell come from and go to. */
export const outerAddress = (cell: Cell, end: End): string =>
  cell.mode === "transport" ? cellAddress(cell, end) : LINK[end][cell.outer];

/** SPIs of a cell, by who sends with it. Host byte order. */
export const cellSpi = ({ index }: Cell, sender: End): number => 0x1000 + 2 * index + NUMBER[sender];
