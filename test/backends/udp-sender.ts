/** Run as a process of its own: sends numbered UDP packets at a steady rate. Arguments: address, count, packets a ms. */
import { createSocket } from "node:dgram";

const [address = "", count = "0", rate = "1"] = process.argv.slice(2);
const socket = createSocket("udp4");
let next = 0;
let sent = 0;
const timer = setInterval(() => {
  for (let i = 0; i < Number(rate) && next < Number(count); i++) {
    const packet = Buffer.alloc(64);
    packet.writeUInt32LE(next++);
    socket.send(packet, 4000, address, () => {
      if (++sent === Number(count)) socket.close();
    });
  }
  if (next === Number(count)) clearInterval(timer);
}, 1);
