import { spawn } from "node:child_process";
import { accessSync, constants, rmSync } from "node:fs";
import { decodeBundle, encodeBundle } from "../../compiler/bundle/index.js";
import { keyVariables } from "../../config/keys.js";
import type { Policy } from "../../config/policy.js";
import { withBuiltProgram } from "../../program/build.js";
import { findIfindex } from "../../sys/ifindex.js";
import { modulePath } from "../../sys/paths.js";
import type { Applied, Backend, Probe, Status } from "../backend.js";
import { BackendError } from "../errors.js";
import type { FlowAnswer } from "../flow-requests.js";
import { guarded, unguarded } from "../guard/guard.js";
import { locked } from "../kernel/locked.js";
import { NOT_KNOWN } from "../kernel-probe.js";
import { pinnedOwners, removeUnderlay } from "../underlay/index.js";
import { ask, type Requests, socketPath } from "./control.js";
import type { Announcement } from "./daemon.js";
import { TunDevice } from "./device.js";
import { DeviceRecord, recordedInterfaces } from "./device-record.js";
import { packKeys, readKeys } from "./keys.js";

/** TUN device, TC programs that carry the metadata in front of the packet, and the ESP engine in a process of its own. */
export const userspaceBackend: Backend = {
  name: "userspace",

  probe(): Probe {
    if (process.geteuid?.() !== 0) return NOT_KNOWN; // anybody may open the device, but not make an interface
    try {
      accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
      return { available: true, reason: "TUN is there; ESP runs in a process of its own" };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const reason =
        code === "ENOENT"
          ? "there is no /dev/net/tun; load the tun module, or give the container the device"
          : `/dev/net/tun cannot be opened (${code}); give the container the device`;
      return { available: false, reason };
    }
  },

  interfaces: () => [...new Set([...recordedInterfaces(), ...pinnedOwners("userspace")])],

  apply: (policy: Policy): Promise<Applied> =>
    locked(() => guarded(policy, "userspace", () => apply(policy))),

  async loaded(interfaceName: string): Promise<Policy | null> {
    const answer = await ask(interfaceName, "policy", {});
    return answer?.bundle ? decodeBundle(Buffer.from(answer.bundle, "base64")) : null;
  },

  async status(interfaceName: string): Promise<Status | null> {
    return await ask(interfaceName, "status", {});
  },

  flows: (interfaceName, request): Promise<FlowAnswer | null> => ask(interfaceName, "flows", request),

  remove: (interfaceName: string): Promise<boolean> =>
    locked(() =>
      unguarded(interfaceName, async () => {
        const removed =
          (await ask(interfaceName, "stop", { device: "remove" })) !== null ||
          (await removeLeftDevice(interfaceName));
        const hadUnderlay = await removeUnderlay({ backend: "userspace", name: interfaceName });
        return removed || hadUnderlay;
      }),
    ),
};

/** Removes the device that a process left. @returns false where there is none */
async function removeLeftDevice(interfaceName: string): Promise<boolean> {
  if (!recordedInterfaces().includes(interfaceName)) return false;
  const record = await DeviceRecord.take(
    interfaceName,
    `a process holds ${interfaceName} but does not answer; \`fuser ${socketPath(interfaceName)}\` finds it`,
  );
  if (findIfindex(interfaceName) === null) record.forget();
  else TunDevice.claim(interfaceName, record).remove();
  rmSync(socketPath(interfaceName), { force: true });
  return true;
}

async function apply(given: Policy): Promise<Applied> {
  const policy = await withBuiltProgram(given); // here, not in the service: its errors keep their kind
  const bundle = Buffer.from(encodeBundle(policy)).toString("base64");
  const { layout, bytes } = packKeys(readKeys(policy));
  try {
    return await askOrStart(policy, { bundle, keys: layout }, bytes);
  } finally {
    bytes.fill(0);
  }
}

async function askOrStart(
  policy: Policy,
  request: Requests["apply"]["request"],
  keys: Uint8Array,
): Promise<Applied> {
  const { name } = policy.interface;
  const applied = await ask(name, "apply", request, keys);
  if (applied) return applied;
  await startDaemon(name, withoutKeys(process.env, policy));
  try {
    const first = await ask(name, "apply", request, keys);
    if (first) return first;
    throw new BackendError(`the service of ${name} ended right after its start`);
  } catch (error) {
    await ask(name, "stop", { device: "leave" }).catch(() => {});
    throw error;
  }
}

/** An environment without the variables that a policy's keys are in: /proc/PID/environ shows it for as long as PID lives. */
function withoutKeys(environment: NodeJS.ProcessEnv, policy: Policy): NodeJS.ProcessEnv {
  const secret = new Set(keyVariables(policy));
  // By name: no string is made of a key.
  return Object.fromEntries(
    Object.keys(environment).flatMap((name) => (secret.has(name) ? [] : [[name, environment[name]]])),
  );
}

async function startDaemon(interfaceName: string, env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, [modulePath("backends/userspace/daemon.js"), interfaceName], {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env,
  });
  const answer = await new Promise<Announcement>((resolve) => {
    child.once("message", (message) => resolve(message as Announcement));
    child.once("error", ({ name, message }) => resolve({ failed: message, name }));
    child.once("exit", (code) => resolve({ failed: `its process ended with ${code}`, name: "BackendError" }));
  });
  child.removeAllListeners();
  child.unref();
  if (child.connected) child.disconnect();
  if ("ready" in answer) return;
  const error = new BackendError(answer.failed);
  throw Object.assign(error, { reason: answer.reason });
}
