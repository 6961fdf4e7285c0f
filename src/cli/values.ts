import { InvalidArgumentError } from "commander";
import type { KernelVersion } from "../esp/offload/stack.js";

/** What options' values are read by. */

/** Reads a whole number from 1 on. */
export function count(value: string): number {
  if (!/^[1-9]\d*$/.test(value)) throw new InvalidArgumentError("write a positive whole number");
  return Number(value);
}

/** Reads one more of several whole numbers from 1 on. */
export function counts(value: string, before: readonly number[] = []): number[] {
  return [...before, count(value)];
}

/** Reads "6.16". */
export function kernelVersion(value: string): KernelVersion {
  const [, major, minor] = /^(\d+)\.(\d+)$/.exec(value) ?? [];
  if (major === undefined || minor === undefined) throw new InvalidArgumentError("write it as 6.16");
  return [Number(major), Number(minor)];
}

/** Those below are reserved (RFC 4303, section 2.1). */
const SPI_MIN = 0x100;

/** Reads an SPI, decimal or 0x hexadecimal. */
export function spi(value: string): number {
  const number = /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : 0;
  if (number < SPI_MIN || number > 0xffffffff)
    throw new InvalidArgumentError("write a number from 0x100 to 0xffffffff");
  return number;
}
