/** What every error of this package carries beside its message. */
export interface ErrorDetails {
  /** Name of the errno ("EPERM"), or of this package's own reason ("CLOSED", "STATE", ...). */
  code: string;
  /** Positive errno, where the kernel or libbpf gave one. */
  errno?: number;
  /** What was found. */
  found: string;
  /** What to do next. */
  hint?: string | undefined;
  /** libbpf's own log of the failed operation. */
  log?: string | undefined;
  cause?: unknown;
}

/** Base of every error thrown by libbpf-ts: what was being done, what was found, what to do next. */
export class BpfError extends Error {
  readonly op: string;
  readonly code: string;
  readonly errno: number | undefined;
  readonly hint: string | undefined;
  readonly log: string | undefined;

  constructor(op: string, details: ErrorDetails) {
    const hint = details.hint === undefined ? "" : `; ${details.hint}`;
    super(`${op}: ${details.found}${hint}`, details.cause === undefined ? {} : { cause: details.cause });
    this.name = new.target.name;
    this.op = op;
    this.code = details.code;
    this.errno = details.errno;
    this.hint = details.hint;
    this.log = details.log;
  }
}

/** The object, map, program or link was closed before this call. */
export class ClosedError extends BpfError {
  constructor(op: string, what: string) {
    super(op, { code: "CLOSED", found: `${what} is closed` });
  }
}

/** The call came at the wrong time, for example a constant set after load(). */
export class StateError extends BpfError {
  constructor(op: string, found: string, hint?: string) {
    super(op, { code: "STATE", found, hint });
  }
}

/** An argument has the wrong size or range for what the kernel expects. */
export class ArgumentError extends BpfError {
  constructor(op: string, found: string, hint?: string) {
    super(op, { code: "ARGUMENT", found, hint });
  }
}

/** No map, program, variable or type of that name. */
export class UnknownNameError extends BpfError {
  constructor(op: string, kind: string, name: string, known: Iterable<string>) {
    const names = [...known];
    super(op, {
      code: "UNKNOWN_NAME",
      found: `no ${kind} named "${name}"`,
      hint: names.length === 0 ? `there is no ${kind} at all` : `there is ${names.join(", ")}`,
    });
  }
}

/** The bytes are not a BPF object that libbpf can read. */
export class InvalidObjectError extends BpfError {
  constructor(op: string, found: string, more: { hint?: string; log?: string; errno?: number } = {}) {
    super(op, { code: "INVALID_OBJECT", found, ...more });
  }
}

/** libbpf.so.1 is absent or too old. */
export class MissingLibraryError extends BpfError {
  constructor(op: string, found: string, cause?: unknown) {
    super(op, {
      code: "MISSING_LIBRARY",
      found,
      hint: "install libbpf 1.1 or later (Debian: libbpf1)",
      cause,
    });
  }
}

/** The kernel lacks a feature; `since` is the first Linux release that has it, where known. */
export class MissingFeatureError extends BpfError {
  readonly feature: string;
  readonly since: string | undefined;
  constructor(op: string, feature: string, since?: string, more: Partial<ErrorDetails> = {}) {
    super(op, {
      code: "MISSING_FEATURE",
      found: `this kernel has no ${feature}`,
      ...(since === undefined ? {} : { hint: `Linux has it since ${since}` }),
      ...more,
    });
    this.feature = feature;
    this.since = since;
  }
}

/** The process lacks a capability, or the kernel withholds the operation from everybody. */
export class MissingRightsError extends BpfError {
  constructor(op: string, errno: number, log?: string) {
    super(op, {
      code: "EPERM",
      errno,
      found: "not permitted",
      hint:
        process.geteuid?.() === 0
          ? "the process is root: a container, the kernel's lockdown mode or its configuration withholds it"
          : "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
      log,
    });
  }
}

/** The kernel carries no BTF, and the object needs it (CO-RE, kfuncs). */
export class MissingBtfError extends BpfError {
  constructor(op: string, log: string) {
    super(op, {
      code: "MISSING_BTF",
      found: "the kernel carries no BTF, which this object needs",
      hint: "use a kernel with CONFIG_DEBUG_INFO_BTF, or give open() a btfPath",
      log,
    });
  }
}
