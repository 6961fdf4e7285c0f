/** The stack's half of sending through a device: net/xfrm/xfrm_output.c and net/xfrm/xfrm_device.c (validate_xmit_xfrm). */
import type { Slab } from "../../sys/slab.js";
import type { Sealer } from "../aead.js";
import { COUNTER, type Counters } from "../statistics.js";
import { FEATURES, type OffloadType, type TxContext } from "./contract.js";
import type { OffloadCounters } from "./counters.js";

/** The last sequence number before its lower half wraps. */
const LAST_LOW = 0xffffffff;
/** Options begin behind a header of 5 words. */
const IPV4_WORDS = 5;
/** IPv6 extension headers of ipv6_ext_hdr (net/ipv6/exthdrs_core.c): hop-by-hop, routing, fragment, AH, none, options. */
const EXTENSION_HEADERS = new Set([0, 43, 44, 51, 59, 60]);
const IPV6_NEXT_HEADER = 6;

/** What an outbound SA asks for each packet: whether the device is to encrypt it, or the stack. */
export class OutboundOffload {
  readonly #slab: Slab;
  readonly #software: Sealer;
  readonly #device: TxContext;
  readonly #packetMode: boolean;
  readonly #counted: OffloadCounters;
  readonly #counters: Counters;
  /** The device, counted. */
  readonly #hardware: Sealer;
  /** Segments of this burst that the stack encrypts, as their numbers wrap. */
  #softwareSegments = 0;
  /** The device is to cut the burst that begins. */
  #cuts = false;

  constructor(
    slab: Slab,
    software: Sealer,
    device: TxContext,
    type: OffloadType,
    counted: OffloadCounters,
    counters: Counters,
  ) {
    this.#slab = slab;
    this.#software = software;
    this.#device = device;
    this.#packetMode = type === "packet";
    this.#counted = counted;
    this.#counters = counters;
    this.#hardware = {
      seal: (packet, sequenceHigh, source, length) => {
        const sealed = device.seal(packet, sequenceHigh, source, length);
        if (sealed) counted.countHardware();
        else counted.countDrop();
        return sealed;
      },
      close: () => device.close(),
    };
  }

  /**
   * Tells of a GSO packet whose segments come next. Where their numbers would wrap, the stack cuts it and does the crypto
   * (xmit_xfrm_check_overflow); the device cuts it where it has tx-esp-segmentation.
   * @param low lower half of the last sequence number used
   */
  startBurst(low: number, segments: number): void {
    this.#softwareSegments = !this.#packetMode && low + segments > LAST_LOW ? segments : 0;
    this.#cuts = this.#softwareSegments === 0 && this.#has("tx-esp-segmentation");
  }

  /** Who seals the inner packet at `packet`; null when it is dropped, and counted. */
  sealerFor(packet: number): Sealer | null {
    const device = this.#device;
    const cuts = this.#cuts;
    this.#cuts = false;
    if (!device.alive) {
      // The SA is gone, its policy is not. The kernel counts on the xfrm device as well.
      this.#counters.count(COUNTER.txCarrierErrors);
      return this.#drop(COUNTER.XfrmOutNoStates);
    }
    const ok = device.present && !device.rerouted() && this.#isPlain(packet);
    if (this.#packetMode) {
      if (!ok) return this.#drop(COUNTER.XfrmOutError);
      return this.#inHardware(cuts);
    }
    if (this.#softwareSegments > 0) {
      this.#softwareSegments--;
      return this.#inSoftware();
    }
    return ok && this.#has("esp-hw-offload") ? this.#inHardware(cuts) : this.#inSoftware();
  }

  /** xfrm_dev_state_advance_esn: the sequence number's lower half wrapped. */
  advanceEsn(high: number): void {
    this.#device.advanceEsn(high);
  }

  close(): void {
    this.#device.close();
  }

  #inHardware(cuts: boolean): Sealer {
    if (cuts) this.#counted.countBurst();
    return this.#hardware;
  }

  #inSoftware(): Sealer {
    this.#counted.countSoftware();
    return this.#software;
  }

  #drop(counter: number): null {
    this.#counted.countDrop();
    this.#counters.count(counter);
    return null;
  }

  #has(feature: keyof typeof FEATURES): boolean {
    return (this.#device.features & FEATURES[feature]) !== 0;
  }

  /** xfrm_dev_offload_ok: neither IPv4 options nor IPv6 extension headers. */
  #isPlain(packet: number): boolean {
    const { view } = this.#slab;
    const first = view.getUint8(packet);
    return first >>> 4 === 4
      ? (first & 15) === IPV4_WORDS
      : !EXTENSION_HEADERS.has(view.getUint8(packet + IPV6_NEXT_HEADER));
  }
}
