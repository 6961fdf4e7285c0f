/** Starts and stops data paths and prints what each left open: in a process of its own, for descriptors are shared. */
import { readdirSync } from "node:fs";
import { startDatapath } from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";
import { Tunnel } from "./site.js";

const tunnel = await Tunnel.between();
const tun = new FakeTun();
for (let i = 0; i < 6; i++) {
  const datapath = await startDatapath({ tunFds: [tun.fd], connections: [tunnel.connection(101).left] });
  await datapath.stop();
  console.log(
    `${readdirSync("/proc/self/fd").length} descriptors, ${process.listenerCount("exit")} listeners`,
  );
}
tun.close();
