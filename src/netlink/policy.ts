import { constants } from "node:os";
import ipaddr from "ipaddr.js";
import { AF_INET, SystemError } from "../sys/libc.js";
import { Attributes, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { NETLINK_XFRM, request } from "./request.js";

/** <linux/xfrm.h> */
const XFRM_MSG_GETPOLICY = 0x15;
const XFRM_POLICY_OUT = 1;
const XFRMA_TMPL = 5;
const XFRMA_IF_ID = 31;
/** struct xfrm_userpolicy_id, and of struct xfrm_userpolicy_info the size and the place of dir. */
const USERPOLICY_ID_SIZE = 64;
const USERPOLICY_INFO_SIZE = 168;
const DIR = 160;
/** struct xfrm_user_tmpl: the destination in network byte order comes first, the family behind the id of 24 bytes. */
const TMPL_FAMILY = 24;

/** A template of one of the kernel's outbound policies. */
export interface OutboundTemplate {
  readonly ifId: number;
  /** Outer destination. */
  readonly remote: string;
}

/** Outer destinations of all outbound policies; none where the kernel has no XFRM or does not tell. @throws SystemError */
export function readOutboundTemplates(): OutboundTemplate[] {
  const asked = new Uint8Array(USERPOLICY_ID_SIZE);
  let messages: Uint8Array[];
  try {
    messages = request(XFRM_MSG_GETPOLICY, asked, "reading the IPsec policies", {
      dump: true,
      protocol: NETLINK_XFRM,
    });
  } catch (error) {
    const absent = [constants.errno.EPROTONOSUPPORT, constants.errno.ECONNREFUSED, constants.errno.EPERM];
    if (error instanceof SystemError && absent.includes(error.errno)) return [];
    throw error;
  }
  return messages.flatMap((message) => {
    if (message[DIR] !== XFRM_POLICY_OUT) return [];
    const attributes = new Attributes(message.subarray(USERPOLICY_INFO_SIZE));
    const template = attributes.bytes(XFRMA_TMPL);
    if (template === undefined || template.length < TMPL_FAMILY + 2) return [];
    const v4 = viewOf(template).getUint16(TMPL_FAMILY, LITTLE_ENDIAN) === AF_INET;
    const remote = ipaddr.fromByteArray([...template.subarray(0, v4 ? 4 : 16)]).toString();
    return [{ ifId: attributes.uint32(XFRMA_IF_ID) ?? 0, remote }];
  });
}
