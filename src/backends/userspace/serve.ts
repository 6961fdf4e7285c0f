import { rmSync } from "node:fs";
import { decodeBundle, encodeBundle } from "../../compiler/bundle/index.js";
import { watchNetwork } from "../../netlink/monitor.js";
import { deferred } from "../../sys/deferred.js";
import { watchNamespace } from "../../sys/netns-reach.js";
import { tidyRuntimeDir } from "../../sys/runtime-dir.js";
import { keepMemoryPrivate } from "../../sys/secrets.js";
import { watchGuard } from "../guard/watch.js";
import { ControlError, isServed, serveControl, socketPath } from "./control.js";
import { DeviceRecord } from "./device-record.js";
import { unpackKeys } from "./keys.js";
import { UserspaceService } from "./service.js";

export interface Served {
  readonly service: UserspaceService;
  /** Resolves when the interface was told to stop, by a request or by stop(); rejects when the data path failed. */
  readonly ended: Promise<void>;
  /** Ends serving. The device stays where it had a policy (see UserspaceService.stop). */
  stop(): Promise<void>;
}

/**
 * Makes an interface, or takes over the one that a process left, and answers requests about it until it is told to stop. It
 * stops by itself where its network namespace is one that nobody can reach any more.
 */
export async function serve(interfaceName: string): Promise<Served> {
  keepMemoryPrivate(); // before there is any key
  const stopped = deferred<void>();
  const taken = `${interfaceName} is run by another xfrm-steer already; \`xfrm-steer apply\` changes its policy`;
  if (await isServed(interfaceName)) throw new ControlError(taken);
  const record = await DeviceRecord.take(interfaceName, taken); // one that was killed may be on its way out
  let service: UserspaceService | null = null;
  const demand = () => {
    if (!service) throw new Error("the interface is being made or removed; try again");
    return service;
  };
  const server = await serveControl(interfaceName, {
    apply: ({ bundle, keys }, secret) =>
      demand().apply(decodeBundle(Buffer.from(bundle, "base64")), unpackKeys(keys, secret)),
    policy: async () => {
      const { policy } = demand();
      return { bundle: policy && Buffer.from(encodeBundle(policy)).toString("base64") };
    },
    flows: async (request) => demand().flows(request),
    status: async () => service?.status() ?? null,
    xfrm: async () => demand().databases(),
    rekey: async (request, secret) => {
      await demand().rekey(request, secret);
      return {};
    },
    stop: async ({ device }) => {
      await network.stop();
      await (device === "remove" ? demand().remove() : demand().stop());
      stopped.resolve();
      return {};
    },
  });
  const network = watchNetwork(
    async () => await service?.networkChanged(),
    () => {}, // what it could not reach now it meets again at the next change, or an apply reports it
  );
  const stop = async () => {
    await service?.stop();
    stopped.resolve();
  };
  try {
    service = new UserspaceService(interfaceName, record);
  } catch (error) {
    void network.stop();
    server.close();
    rmSync(socketPath(interfaceName), { force: true });
    record.close();
    throw error;
  }
  const watch = watchNamespace(() => {
    void service?.remove().then(stopped.resolve);
  });
  const unwatch = watchGuard(() => service?.policy ?? null);
  const ended = Promise.race([stopped.promise, service.failed]).finally(async () => {
    watch.close();
    unwatch();
    await network.stop();
    await service?.stop();
    server.close();
    rmSync(socketPath(interfaceName), { force: true });
    tidyRuntimeDir();
  });
  return { service, ended, stop };
}
