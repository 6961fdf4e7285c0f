import test from "ava";
import { FEATURES } from "../../src/esp/offload/contract.js";
import { SimulatedBond } from "../../src/simulator/bond.js";
import { ContractError, SimulatedNic } from "../../src/simulator/nic.js";
import { loadProfile } from "../../src/simulator/profile.js";
import { textView } from "../../src/simulator/text-view.js";
import { offloadState } from "./states.js";

const nic = (profile: string) => new SimulatedNic("sim0", loadProfile(profile).ports[0]);

test("handles are never 0, are given out lowest first, and again after a delete", (t) => {
  const port = nic("nfp");
  const handles = [1, 2, 3].map(() => port.state_add(offloadState()));
  t.deepEqual(handles, [{ handle: 1 }, { handle: 2 }, { handle: 3 }]);
  port.state_delete(2);
  t.deepEqual(port.state_add(offloadState()), { handle: 2 });
});

test("a device that frees late keeps the slot of a deleted SA until nothing refers to it", (t) => {
  const port = nic("mlx5-crypto");
  port.state_add(offloadState());
  port.state_delete(1);
  t.is(port.used.out, 1);
  t.throws(() => port.state_delete(1), { instanceOf: ContractError });
  port.state_free(1);
  t.is(port.used.out, 0);
});

test("state_free before state_delete is a mistake of the caller", (t) => {
  const port = nic("mlx5-crypto");
  port.state_add(offloadState());
  t.throws(() => port.state_free(1), { instanceOf: ContractError, message: /before state_delete/ });
});

test("an operation that the driver has not is a mistake of the caller", (t) => {
  t.throws(() => nic("nfp").advance_esn(1, 1), { instanceOf: ContractError, message: /no advance_esn/ });
});

test("inbound SAs of one address share an entry of ixgbe's address table, which 128 fill", (t) => {
  const port = nic("ixgbe");
  const inbound = (host: number) =>
    port.state_add(offloadState({ direction: "in", destination: `10.0.0.${host}` }));
  t.deepEqual(inbound(1), { handle: 1 });
  t.deepEqual(inbound(1), { handle: 2 });
  t.is(port.used.addresses, 1);
  for (let host = 2; host <= 128; host++) t.true("handle" in inbound(host));
  t.deepEqual(inbound(129), { errno: "ENOSPC", extack: "No space for SA in Rx IP SA table" });
  t.true("handle" in inbound(1));
  for (const handle of [1, 2, 130]) port.state_delete(handle);
  t.is(port.used.addresses, 127);
});

test("features depend on each other while the device runs, too", (t) => {
  const port = nic("ideal");
  t.throws(() => port.setFeature("esp-hw-offload", false), { instanceOf: ContractError });
  port.setFeature("esp-tx-csum-hw-offload", false);
  port.setFeature("esp-hw-offload", false);
  t.is(port.features, FEATURES["tx-esp-segmentation"]);
});

test("a reference is not given back twice", (t) => {
  const port = nic("ideal");
  port.hold();
  port.put();
  t.throws(() => port.put(), { instanceOf: ContractError });
});

test("a bond adds its SAs again on the port that takes over, and keeps their handles", (t) => {
  const ports = [nic("mlx5-crypto"), nic("mlx5-crypto")] as const;
  const bond = new SimulatedBond("bond0", ports);
  t.deepEqual(bond.state_add(offloadState()), { handle: 1 });
  t.deepEqual(bond.state_add(offloadState()), { handle: 2 });
  bond.failover();
  t.deepEqual([ports[0].used.out, ports[1].used.out], [0, 2]);
  t.false(ports[0].up);
  bond.state_delete(1);
  bond.state_free(1);
  t.is(ports[1].used.out, 1);
  bond.failover();
  t.deepEqual([ports[0].used.out, ports[1].used.out], [1, 0]);
});

test("an SA that the second port refuses is left to software", (t) => {
  const ports = [nic("mlx5-crypto"), nic("ixgbe")] as const;
  const bond = new SimulatedBond("bond0", ports);
  bond.state_add(offloadState({ mode: "tunnel" }));
  t.true(bond.memoryOf(1).present);
  bond.failover();
  t.deepEqual([bond.memoryOf(1).present, bond.memoryOf(1).alive], [false, true]);
  bond.state_delete(1);
  bond.state_free(1);
  t.deepEqual([ports[0].used.out, ports[1].used.out], [0, 0]);
});

test("the text view shows no key that it was not given", (t) => {
  const port = nic("netdevsim");
  port.state_add(offloadState({ direction: "in", destination: "192.168.123.3", spi: 9 }));
  t.is(
    textView(port),
    `SA count=1 tx=0
sa[0] rx ipaddr=0x00000000 00000000 00000000 037ba8c0
sa[0]    spi=0x00000009 proto=0x32 salt=0x-------- crypt=1
sa[0]    key=0x-------- -------- -------- --------
`,
  );
});
