import { rmSync } from "node:fs";
import { decodeBundle, encodeBundle } from "../../compiler/bundle/index.js";
import { deferred } from "../../sys/deferred.js";
import { tidyRuntimeDir } from "../../sys/runtime-dir.js";
import { serveControl, socketPath } from "./control.js";
import { UserspaceService } from "./service.js";

export interface Served {
  readonly service: UserspaceService;
  /** Resolves when the interface was told to stop, by a request or by stop(); rejects when the data path failed. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

/** Makes an interface and answers requests about it until it is told to stop. */
export async function serve(interfaceName: string): Promise<Served> {
  const stopped = deferred<void>();
  let service: UserspaceService | null = null;
  const demand = () => {
    if (!service) throw new Error("the interface is being made or removed; try again");
    return service;
  };
  // The socket first: it is what two processes for one interface would fight over.
  const server = await serveControl(interfaceName, {
    apply: ({ bundle, keys }) => demand().apply(decodeBundle(Buffer.from(bundle, "base64")), keys),
    policy: async () => {
      const { policy } = demand();
      return { bundle: policy && Buffer.from(encodeBundle(policy)).toString("base64") };
    },
    flows: async (request) => demand().flows(request),
    status: async () => service?.status() ?? null,
    xfrm: async () => demand().databases(),
    rekey: async (request) => {
      await demand().rekey(request);
      return {};
    },
    stop: async () => {
      await demand().stop();
      stopped.resolve();
      return {};
    },
  });
  const stop = async () => {
    await service?.stop();
    stopped.resolve();
  };
  try {
    service = new UserspaceService(interfaceName);
  } catch (error) {
    server.close();
    throw error;
  }
  const ended = Promise.race([stopped.promise, service.failed]).finally(async () => {
    await service?.stop();
    server.close();
    rmSync(socketPath(interfaceName), { force: true });
    tidyRuntimeDir();
  });
  return { service, ended, stop };
}
