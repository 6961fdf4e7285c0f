import koffi from "koffi";

/** getppid(2), a system call and a libc function that nothing else here makes. */
export const getppid = koffi.load("libc.so.6").func("int getppid()") as unknown as () => number;
