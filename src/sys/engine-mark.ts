/**
 * SO_MARK of the ESP engine's sockets: tells the engine's own outer packets from those that are to be steered, in routing
 * rules and in programs. The low 16 bits are zero, as the masks of other programs are mostly there.
 */
export const ENGINE_MARK = 0x4553_0000;
