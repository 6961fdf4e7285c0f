/** Adds and deletes SAs again and again: in a process of its own, for descriptors are shared. */
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { startDatapath } from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";
import { Tunnel } from "./site.js";

const CONNECTIONS = 100;
const ROUNDS = 100;

const tunnel = await Tunnel.between();
const tun = new FakeTun();
const fresh = () =>
  Array.from({ length: CONNECTIONS }, (_, index) => {
    const { left } = tunnel.connection(index + 1, [randomBytes(20), randomBytes(20)]);
    return left;
  });
const descriptors = () => readdirSync("/proc/self/fd").length;
const datapath = await startDatapath({ tunFds: [tun.fd], connections: fresh() });
let early = descriptors();
for (let round = 0; round < ROUNDS; round++) {
  await datapath.update(fresh());
  if (round === ROUNDS / 5) early = descriptors();
}
console.log(JSON.stringify({ states: datapath.states().length, early, late: descriptors() }));
await datapath.stop();
tun.close();
