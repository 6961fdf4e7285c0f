import test from "ava";
import { userspace } from "../../src/selftest/scenarios/contract/userspace-subject.js";
import { testContract } from "./contract.js";

testContract(test, userspace);
