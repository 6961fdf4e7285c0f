import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import test from "ava";
import { startSite, Tunnel } from "./site.js";

const CONNECTIONS = 100;
const ROUNDS = 100;
/** 10,000 SAs hold more than twice as much if they are never freed. */
const MAX_GROWTH = 48 * 2 ** 20;

test.serial(
  "10,000 SAs in each direction, added and deleted, leave no memory and no descriptor behind",
  async (t) => {
    const tunnel = await Tunnel.between();
    const fresh = () =>
      Array.from({ length: CONNECTIONS }, (_, index) => {
        const { left } = tunnel.connection(index + 1, [randomBytes(20), randomBytes(20)]);
        return left;
      });
    const { datapath } = await startSite(t, fresh());
    const descriptors = () => readdirSync("/proc/self/fd").length;
    let early = 0;
    let before = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await datapath.update(fresh());
      if (round !== ROUNDS / 5) continue;
      early = process.memoryUsage.rss();
      before = descriptors();
    }
    t.is(datapath.states().length, 2 * CONNECTIONS);
    t.true(descriptors() <= before);
    const growth = process.memoryUsage.rss() - early;
    t.true(growth < MAX_GROWTH, `${growth} bytes more are resident than after a fifth`);
  },
);
