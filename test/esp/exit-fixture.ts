/** Starts a data path, says so, and leaves by process.exit() without stopping it. */
import { startDatapath } from "../../src/esp/index.js";
import { FakeTun } from "./fake-tun.js";
import { Tunnel } from "./site.js";

const tunnel = await Tunnel.between();
await startDatapath({ tunFds: [new FakeTun().fd], connections: [tunnel.connection(101).left] });
console.log("running");
process.exit(3);
