import { BpfObject } from "libbpf-ts";
import { FRAME_HEADER_SIZE, SHIM_TAG, tagOf } from "../../src/esp/framing.js";
import { EPOCHS } from "../../src/esp/index.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { serialRootTest } from "../support/root-test.js";
import { frame, ipv4 } from "./frames.js";

/** A socket filter is run behind an Ethernet header (net/bpf/test_run.c, bpf_prog_test_run_skb). */
const ETHERNET = 14;

const key = (epoch: number, ifId: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeInt32BE(tagOf(epoch), 0);
  bytes.writeUInt32LE(ifId, 4);
  return bytes;
};

serialRootTest(
  "while an if_id changes hands, each epoch's frames find the queue of their connection",
  (t) => {
    const object = BpfObject.open(bpfObjectPath("esp_queues"));
    t.teardown(() => object.close());
    object.load();
    const queueOf = (epoch: number, ifId: number, shim = true): number => {
      const framed = frame(ipv4(100), { ifId, tag: tagOf(epoch) });
      const packet = framed.subarray(shim ? SHIM_TAG : FRAME_HEADER_SIZE);
      return object.program("tun_queue").testRun({ data: Buffer.concat([Buffer.alloc(ETHERNET), packet]) })
        .retval;
    };
    const map = object.map("queue_of_if_id");
    const last = EPOCHS - 1;
    map.update(key(last, 7), Uint32Array.of(3));
    map.update(key(last, 8), Uint32Array.of(5));
    map.update(key(0, 7), Uint32Array.of(5));
    map.update(key(0, 8), Uint32Array.of(3));
    t.deepEqual([queueOf(last, 7), queueOf(last, 8)], [3, 5]);
    t.deepEqual([queueOf(0, 7), queueOf(0, 8)], [5, 3]);
    t.deepEqual([queueOf(1, 7), queueOf(0, 9), queueOf(0, 7, false)], [0, 0, 0], "the first queue counts it");
  },
);
