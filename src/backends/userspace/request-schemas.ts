import * as z from "zod";
import type { Operation, Requests } from "./control.js";

const size = z.int().min(0).max(1024);
const spi = z.int().min(0).max(0xffffffff);
const nothing = z.strictObject({});

/** Shapes of the requests on the control socket. */
const schemas: { readonly [O in Operation]: z.ZodType<Requests[O]["request"]> } = {
  apply: z.strictObject({
    bundle: z.base64(),
    keys: z.array(z.strictObject({ connection: z.string(), out: size, in: size, alsoIn: z.array(size) })),
  }),
  policy: nothing,
  flows: z.strictObject({ action: z.enum(["add", "del", "list"]), text: z.string() }),
  status: nothing,
  xfrm: nothing,
  rekey: z.strictObject({ connection: z.string(), step: z.enum(["add", "switch", "remove"]), spi }),
  stop: z.strictObject({ device: z.enum(["remove", "leave"]) }),
};

/** What is asked for, and with what. */
export interface Asked {
  readonly operation: Operation;
  readonly request: never;
}

/**
 * Reads a request's JSON.
 *
 * @throws Error that says what is wrong with it, and quotes nothing of it but an operation's name
 */
export function parseRequest(json: string): Asked {
  const { operation, request } = z
    .strictObject({ operation: z.string().max(64), request: z.unknown() })
    .parse(parsed(json), { error: () => "a request is {operation, request}" });
  if (!Object.hasOwn(schemas, operation))
    throw new Error(
      `there is no operation ${JSON.stringify(operation)}; there are ${Object.keys(schemas).join(", ")}`,
    );
  const result = schemas[operation as Operation].safeParse(request);
  if (result.success) return { operation: operation as Operation, request: result.data as never };
  const issues = result.error.issues.map(({ path, message }) => `${path.join(".") || "it"}: ${message}`);
  throw new Error(`the request to ${operation} is not right: ${issues.join("; ")}`);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new Error("the request is not JSON");
  }
}
