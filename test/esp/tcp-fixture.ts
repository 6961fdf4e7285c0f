/**
 * A TCP transfer between two processes: `receive ADDRESS` listens, says so, and prints the digest of what it got;
 * `send ADDRESS BYTES` sends and prints the digest of what it sent.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";

const PORT = 5001;
const CHUNK = 65_521;
const [role, address, bytes] = process.argv.slice(2);
const digest = createHash("sha256");

if (role === "receive") {
  const server = createServer((socket) => {
    socket.on("data", (chunk) => digest.update(chunk));
    socket.on("end", () => {
      console.log(digest.digest("hex"));
      server.close();
    });
  });
  server.listen(PORT, address, () => console.log("listening"));
} else {
  const socket = connect(PORT, address);
  await once(socket, "connect");
  let left = Number(bytes);
  for (let turn = 0; left > 0; turn++) {
    const chunk = Buffer.alloc(Math.min(CHUNK, left), `${turn} `);
    left -= chunk.length;
    digest.update(chunk);
    if (!socket.write(chunk)) await once(socket, "drain");
  }
  socket.end();
  console.log(digest.digest("hex"));
}
