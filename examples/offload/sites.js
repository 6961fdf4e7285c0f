// Writes sites.yaml: `node sites.js > sites.yaml`. Transport mode, as ixgbe wants it, and one SA more than it has room for.
const SITES = 1025;
const hex = (value) => `0x${value.toString(16)}`;
console.log("version: 1\nconnections:");
for (let site = 1; site <= SITES; site++) {
  const name = `site-${site}`;
  const remote = `198.18.${site >> 8}.${site & 255}`;
  const sa = (spi, way) => `{spi: ${hex(spi + site)}, key: file:keys/${name}-${way}.key}`;
  const esp = `{mode: transport, local: 192.0.2.1, remote: ${remote}, encapsulation: none, suite: aes128-gcm, out: ${sa(0x10000, "out")}, in: ${sa(0x20000, "in")}, offload: {device: eth1}}`;
  console.log(`  ${name}: {if_id: ${site}, link: eth1, subnets: [${remote}/32], esp: ${esp}}`);
}
