import test from "ava";
import { OutboundStates } from "../../src/esp/outbound-states.js";

interface State {
  readonly id: number;
  ifId: number;
  open: boolean;
  sequence: number;
}
type Spec = { readonly id: number; readonly ifId: number; readonly fails?: boolean };

function setUp() {
  const made: State[] = [];
  const states = new OutboundStates<Spec, State, number>({
    fields({ ifId, fails }) {
      if (fails) throw new Error("no room");
      return ifId;
    },
    make({ id }, ifId) {
      const state = { id, ifId, open: true, sequence: 0 };
      made.push(state);
      return state;
    },
    change(state, ifId) {
      state.ifId = ifId;
    },
    close(state) {
      if (!state.open) throw new Error(`closed twice: ${state.id}`);
      state.open = false;
    },
  });
  return { states, made, open: () => made.filter(({ open }) => open).map(({ id }) => id) };
}

const A = { id: 1, ifId: 101 };
const B = { id: 2, ifId: 102 };

test("an SA that stays is the same object under another if_id", (t) => {
  const { states, made } = setUp();
  states.replace([A, B], () => false);
  const [a, b] = made as [State, State];
  a.sequence = 7;
  states.replace(
    [
      { id: 1, ifId: 102 },
      { id: 2, ifId: 101 },
    ],
    () => true,
  );
  t.deepEqual([...states.current], [a, b]);
  t.deepEqual(a, { id: 1, ifId: 102, open: true, sequence: 7 });
  t.is(made.length, 2);
});

test("SAs that only the table before has are open until it is retired", (t) => {
  const { states, made, open } = setUp();
  states.replace([A, B], () => false);
  states.replace([{ id: 3, ifId: 101 }], (id) => id === 2);
  t.deepEqual(open(), [2, 3]);
  t.deepEqual(made.map(states.areOpen), [false, true, true]);
  // The second step of a succession.
  states.replace(
    [
      { id: 3, ifId: 101 },
      { id: 4, ifId: 103 },
    ],
    () => true,
  );
  t.deepEqual(open(), [2, 3, 4]);
  states.retire();
  t.deepEqual(open(), [3, 4]);
  states.close();
  t.deepEqual(open(), []);
});

test("one that comes back before that is the same object", (t) => {
  const { states, made, open } = setUp();
  states.replace([A], () => false);
  states.replace([], () => true);
  states.replace([A], () => true);
  states.retire();
  t.deepEqual(open(), [1]);
  t.is(made.length, 1);
});

test("a failure changes nothing and leaves nothing open", (t) => {
  const { states, open } = setUp();
  states.replace([A, B], () => false);
  const next = [
    { id: 1, ifId: 999 },
    { id: 3, ifId: 103 },
    { id: 4, ifId: 104, fails: true },
  ];
  t.throws(() => states.replace(next, () => false), { message: "no room" });
  t.deepEqual(open(), [1, 2]);
  t.deepEqual(
    [...states.current].map(({ ifId }) => ifId),
    [101, 102],
  );
});
