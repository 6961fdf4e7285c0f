import test from "ava";
import { hostDevices, ifindexesOfGroup } from "../../src/sys/devices.js";

const LOOPBACK = 1;

test("a device group has its members and no other device", (t) => {
  t.true(ifindexesOfGroup("default").includes(LOOPBACK));
  t.deepEqual(ifindexesOfGroup("4242"), []);
  t.throws(() => ifindexesOfGroup("nogrp"), {
    name: "DeviceError",
    message: "there is no device group nogrp; name it in /etc/iproute2/group, or write its number",
  });
});

test("devices are found by name; one that is not there is named", (t) => {
  const devices = hostDevices();
  t.is(devices.ifindexOf("lo"), LOOPBACK);
  t.throws(() => devices.ifindexOf("no-such-device"), {
    name: "DeviceError",
    message: /there is no network device no-such-device .*; make it first/,
  });
});
