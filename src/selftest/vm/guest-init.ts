/** Where the guest keeps what is to be handed back to the host. */
export const GUEST_OUT = "/out";
/** The project's root in the guest. */
export const GUEST_ROOT = "xfrm-steer";

/** What init says first, on the console. */
export const INIT_REACHED = "xfrm-steer: init";

// ttyS1's raw stream: what the command printed, a NUL byte, then a newc archive of /out.
const RUN = `
export NO_COLOR=1
stty -F /dev/ttyS1 raw -echo
setsid sh /main >/dev/ttyS1 </dev/null
echo $? >${GUEST_OUT}/status
dmesg >${GUEST_OUT}/kernel.log
cd ${GUEST_OUT}
{ printf '\\0'; find . -type f | sed 's,^./,,' | cpio -o -H newc 2>/dev/null; } >/dev/ttyS1
`;

// bash rather than busybox's sh, which would run its own ip and ping instead of the real ones.
const SHELL = `
cd /${GUEST_ROOT}
setsid cttyhack bash --norc
`;

/**
 * The guest's /init: mounts what a system has, then runs /main (a script that the run brings) or a shell, and
 * powers off. Modules load on demand through /sbin/modprobe.
 */
export function guestInit(mode: "run" | "shell"): string {
  return `#!/bin/busybox sh
echo "${INIT_REACHED}"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux XFRM_STEER_OUT=${GUEST_OUT}
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
ln -s /proc/self/fd /dev/fd
# As kmod's static nodes: the module is loaded by whoever opens it first.
mkdir -p /dev/net
mknod /dev/net/tun c 10 200
/usr/sbin/ip link set lo up
# libbpf reads the kernel's BTF, megabytes, for every object that is loaded: from memory that malloc keeps, rather than
# from new pages each time, that saves a tenth of a load.
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=536870912
${mode === "run" ? RUN : SHELL}
poweroff -f
`;
}

/** A POSIX shell's words for an argument list. */
export function shellWords(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}

/** The script behind /main: the command, in the project's root, with its environment. */
export function guestMain(command: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${shellWords([value])}\n`);
  return `cd /${GUEST_ROOT}\n${exports.join("")}exec ${shellWords(command)}\n`;
}
