import { readAddresses, readLink } from "../../netlink/link.js";
import { findIfindex } from "../../sys/ifindex.js";
import { ip } from "../../sys/ip.js";
import { makePersistentTun, openTun, type Tun, TunError } from "../../sys/tun.js";
import { ifindexOf } from "../link-setup.js";
import type { DeviceRecord } from "./device-record.js";

const BEING_MADE = 0;

/**
 * The TUN device of a userspace interface. It is persistent: when its process ends, in whatever way, device and routes
 * stay, and the kernel drops what is routed into it, instead of sending it by the next best route in the clear.
 */
export class TunDevice {
  readonly name: string;
  readonly ifindex: number;
  /** False for one that another process left. */
  readonly made: boolean;
  /** Addresses that it was given for an earlier policy. */
  readonly addresses: readonly string[];
  readonly #record: DeviceRecord | null;

  private constructor(
    name: string,
    device: { ifindex: number; made: boolean; addresses: readonly string[] },
    record: DeviceRecord | null,
  ) {
    this.name = name;
    this.ifindex = device.ifindex;
    this.made = device.made;
    this.addresses = device.addresses;
    this.#record = record;
  }

  /**
   * Takes over the device that another process left, or makes one, down and without addresses. It has no queue yet.
   * @param record where it is written down; null for a device that nobody is to take over
   * @throws TunError where a link of that name is not ours
   */
  static claim(name: string, record: DeviceRecord | null): TunDevice {
    const ifindex = findIfindex(name);
    if (ifindex === null) return TunDevice.#make(name, record);
    const known = record?.read() ?? null;
    const tun = readLink(ifindex)?.tun ?? null;
    if (known !== null && [ifindex, BEING_MADE].includes(known.ifindex) && tun?.asOurs && tun.owner === 0)
      return new TunDevice(
        name,
        { ifindex, addresses: given(ifindex, known.addresses), made: false },
        record,
      );
    throw new TunError(
      "in-use",
      `there is a network device ${name} that xfrm-steer did not make; \`ip link delete ${name}\`, ` +
        "or name another one under interface.name",
    );
  }

  static #make(name: string, record: DeviceRecord | null): TunDevice {
    record?.write({ ifindex: BEING_MADE, addresses: [] }); // for who comes after a kill in between
    makePersistentTun(name);
    const ifindex = ifindexOf(name);
    try {
      // It was nobody's for a moment, in which whoever may open /dev/net/tun could open a queue.
      if (readLink(ifindex)?.tun?.queues !== 0)
        throw new TunError("in-use", `another process opened the TUN device ${name} while it was made`);
      record?.write({ ifindex, addresses: [] });
    } catch (error) {
      ip("link", "delete", "dev", name);
      throw error;
    }
    return new TunDevice(name, { ifindex, made: true, addresses: [] }, record);
  }

  /** Opens its queues: from now on what is sent to it can be read. @throws TunError */
  open(queues: number): Tun {
    const tun = openTun(this.name, { queues, persistent: true });
    if (this.exists) return tun;
    tun.close(); // with the device of its name that this made
    throw new TunError("other", `${this.name} was deleted or renamed while it was being set up; apply again`);
  }

  /** Writes down the addresses that the policy gave it. */
  keep(addresses: readonly string[]): void {
    this.#record?.write({ ifindex: this.ifindex, addresses });
  }

  /** Whether the device of its name is still this one. */
  get exists(): boolean {
    return findIfindex(this.name) === this.ifindex;
  }

  /** Removes the device, whatever it is called now. */
  remove(): void {
    const name = readLink(this.ifindex)?.name;
    if (name !== undefined) ip("link", "delete", "dev", name);
    this.#record?.forget();
  }

  /** Leaves the device as it is, for another process to take over or remove. */
  leave(): void {
    if (readLink(this.ifindex) === null) this.#record?.forget();
    else this.#record?.close();
  }
}

/** Of the addresses that are written down, those that the device has: one that the kernel refused was never there. */
function given(ifindex: number, recorded: readonly string[]): string[] {
  const there = readAddresses(ifindex);
  return recorded.filter((address) => there.includes(address));
}
