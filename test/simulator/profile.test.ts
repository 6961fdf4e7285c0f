import test from "ava";
import { loadProfile, ProfileError, parseProfile, profileNames } from "../../src/simulator/profile.js";

for (const name of profileNames()) {
  test(`${name}: the built-in profile is valid, says its name and its source`, (t) => {
    const profile = loadProfile(name);
    t.is(profile.name, name);
    t.regex(profile.source, /\.(c|h|rst)/);
  });
}

const USER = `
name: mine
source: the data sheet, table 7
features: [esp-hw-offload]
operations: [state_add, state_delete]
slots: {in: 2, out: 3}
full: {in: {errno: ENOSPC, reason: rx}, out: {errno: ENOSPC, reason: tx}}
`;

test("a user's own profile is taken, with defaults for what it leaves out", (t) => {
  const { ports } = parseProfile(USER, "mine.yaml");
  t.deepEqual(ports[0].trailer, { transmit: "stack", receive: "stack" });
  t.is(ports[0].release, "delete");
});

const refused = test.macro({
  exec(t, change: (text: string) => string, message: RegExp) {
    const text = change(USER);
    t.not(text, USER);
    const error = t.throws(() => parseProfile(text, "mine.yaml"), { instanceOf: ProfileError });
    t.regex(error.message, /^mine\.yaml/);
    t.regex(error.message, message);
  },
  title: (name) => `refused: ${name}`,
});

test("unknown key", refused, (text) => `${text}\nspeed: 10\n`, /speed/);
test("unknown feature", refused, (text) => text.replace("esp-hw-offload", "warp"), /features\.0/);
test("unknown errno", refused, (text) => text.replace("ENOSPC", "EWHAT"), /full\.in\.errno/);
test("negative slots", refused, (text) => text.replace("in: 2", "in: -2"), /slots/);
test(
  "a table without an answer",
  refused,
  (text) => text.replace(", out: {errno: ENOSPC, reason: tx}", ""),
  /full: .*`out`/,
);
test("handles of another table", refused, (text) => `${text}handles: {shared: 1}\n`, /handles: needs `in`/);
test(
  "handles that two SAs would share",
  refused,
  (text) => `${text}handles: {in: 1, out: 2}\n`,
  /handles: .*overlap/,
);
test("not YAML", refused, () => "name: [", /mine\.yaml/);
test(
  "checksum offload without ESP offload (xfrm_api_check)",
  refused,
  (text) => text.replace("[esp-hw-offload]", "[esp-tx-csum-hw-offload]"),
  /esp-tx-csum-hw-offload needs esp-hw-offload/,
);
test(
  "ESP offload without state_delete (xfrm_api_check)",
  refused,
  (text) => text.replace(", state_delete", ""),
  /needs the operations state_add and state_delete/,
);
test(
  "a check without values",
  refused,
  (text) => `${text}checks: [{property: mode, errno: EINVAL, reason: no}]\n`,
  /allowed/,
);
test("a bond of bonds", refused, () => "name: b\nsource: x\nbond: [bonding, ideal]\n", /is a bond itself/);

test("an unknown name is answered with the names there are", (t) => {
  t.throws(() => loadProfile("e1000"), { instanceOf: ProfileError, message: /ixgbe, mlx5-crypto/ });
});
