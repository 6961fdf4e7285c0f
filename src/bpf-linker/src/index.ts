export { LinkError } from "libbpf-ts";
export { type Clang, findClang, MissingCompilerError, OLDEST_CLANG } from "./clang.js";
export { type CompileOptions, type CompileResult, compile } from "./compile.js";
export { CompileError, type Diagnostic, formatDiagnostic, parseDiagnostics } from "./diagnostics.js";
export { link } from "./link.js";
export { LlvmError, type LlvmOptions, linkLlvm } from "./llvm.js";
export { type ObjectReport, type ProgramReport, reportObject } from "./report.js";
export { type VmlinuxOptions, vmlinuxHeader } from "./vmlinux.js";
