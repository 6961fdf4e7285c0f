/**
 * The process behind `xfrm-steer apply` with the userspace backend: serves one interface, named by its argument, until
 * it is told to stop. Tells its parent over the IPC channel when it can be asked, or why it never will.
 */
import { keepMemoryPrivate } from "../../sys/secrets.js";
import { serve } from "./serve.js";

export type Announcement = { ready: true } | { failed: string; name: string; reason?: unknown };

keepMemoryPrivate();
const [, , interfaceName = ""] = process.argv;
const announce = (message: Announcement) =>
  new Promise<void>((resolve) => {
    if (process.connected) process.send?.(message, () => resolve());
    else resolve();
  });

try {
  const served = await serve(interfaceName);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void served.stop());
  await announce({ ready: true });
  if (process.connected) process.disconnect();
  await served.ended;
} catch (error) {
  const { message, name, reason } = error as Error & { reason?: unknown };
  await announce({ failed: message, name, reason });
  process.exitCode = 1;
  if (process.connected) process.disconnect();
}
