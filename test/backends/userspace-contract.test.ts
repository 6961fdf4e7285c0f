import { userspace } from "../../src/selftest/scenarios/contract/userspace-subject.js";
import { testContract } from "./contract.js";

testContract(userspace);
