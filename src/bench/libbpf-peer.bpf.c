// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* What `bench libbpf` loads, from TypeScript and from C: a hash map and a ring buffer with something in it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u64 number;
	__u32 length;
	__u32 mark;
};

struct event *unused_event;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, __u64);
	__type(value, __u64);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

__u64 number;

SEC("tc")
int emit(struct __sk_buff *skb)
{
	for (int i = 0; i < 1000; i++) {
		struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

		if (!event)
			return 1;
		event->number = number++;
		event->length = skb->len;
		event->mark = 1;
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
