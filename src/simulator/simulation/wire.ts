import { errno, read, write } from "../../sys/libc.js";
import { Slab } from "../../sys/slab.js";
import { openTun, type Tun } from "../../sys/tun.js";
import type { Peer } from "./peer.js";
import { MARKER } from "./traffic.js";

/** struct tun_pi and struct virtio_net_hdr. */
const HEADER_SIZE = 14;
const PROTOCOL = 2;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const CAPACITY = HEADER_SIZE + 65535;

/** What the simulated device is plugged into: a TUN device, of which this is the other end, with the peers behind it. */
export class Wire {
  readonly tun: Tun;
  /** Packets that carried what was sent in the clear. */
  plaintext = 0;
  /** ESP packets seen. */
  packets = 0;
  readonly #peer: Peer;
  readonly #slab = new Slab(CAPACITY);

  /** Makes the device, down, in the calling thread's network namespace. @throws TunError */
  constructor(name: string, peer: Peer) {
    this.tun = openTun(name, { offload: "none" });
    this.#peer = peer;
  }

  /** Takes what is there and has it answered. @returns how many packets there were */
  serve(): number {
    const { bytes, base } = this.#slab;
    for (let count = 0; ; count++) {
      const length = read(this.tun.fd, base, CAPACITY);
      if (length <= HEADER_SIZE) return count;
      const packet = Buffer.from(bytes.subarray(HEADER_SIZE, length));
      if (packet.includes(MARKER)) this.plaintext++;
      const answers = this.#peer.take(packet);
      if (answers === null) continue;
      this.packets++;
      for (const answer of answers) this.#send(answer);
    }
  }

  #send(packet: Buffer): void {
    const { bytes, view, base } = this.#slab;
    bytes.fill(0, 0, HEADER_SIZE);
    view.setUint16(PROTOCOL, (packet[0] ?? 0) >>> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP);
    bytes.set(packet, HEADER_SIZE);
    const length = HEADER_SIZE + packet.length;
    if (write(this.tun.fd, base, length) !== length)
      throw new Error(`writing to the wire: errno ${errno()}; was its device deleted?`);
  }
}
