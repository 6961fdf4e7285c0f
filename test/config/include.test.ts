import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { formatDiagnostic, loadPolicy } from "../../src/config/index.js";
import { folderWith } from "../support/folder.js";

const MAIN = "version: 1\ninclude: [sites.yaml, more/rules.yaml]\nrules:\n  - {name: last, to: drop}\n";
const SITES = "version: 1\nconnections:\n  a: {if_id: 1}\n  b: {if_id: 2}\n";
const RULES = "version: 1\nrules:\n  - {match: {proto: tcp}, to: a}\n  - {match: {proto: udp}, to: b}\n";

function load(t: ExecutionContext, files: Record<string, string>) {
  const folder = folderWith(t, files);
  const { policy, diagnostics } = loadPolicy(path.join(folder, "steer.yaml"));
  const said = diagnostics.map((each) =>
    formatDiagnostic({ ...each, file: path.relative(folder, each.file) }).replaceAll(`${folder}/`, ""),
  );
  return { policy, said };
}

test("included connections and rules come in front of the file's own", (t) => {
  const { policy, said } = load(t, { "steer.yaml": MAIN, "sites.yaml": SITES, "more/rules.yaml": RULES });
  t.deepEqual(said, []);
  t.deepEqual(
    policy?.connections.map(({ name }) => name),
    ["a", "b"],
  );
  t.deepEqual(
    policy?.rules.map(({ name, location }) => [name, path.basename(location.file), location.line]),
    [
      ["rule-1", "rules.yaml", 3],
      ["rule-2", "rules.yaml", 4],
      ["last", "steer.yaml", 4],
    ],
  );
});

test("an included file is looked for next to the file that names it, and may include others", (t) => {
  const { policy, said } = load(t, {
    "steer.yaml": "version: 1\ninclude: more/all.yaml\n",
    "more/all.yaml": "version: 1\ninclude: sites.yaml\n",
    "more/sites.yaml": SITES,
  });
  t.deepEqual(said, []);
  t.is(policy?.connections.length, 2);
});

const part = (name: string, ifId: number) => `version: 1\nconnections: {${name}: {if_id: ${ifId}}}\n`;

test("a pattern includes all files that it matches, in the order of their names", (t) => {
  const { policy, said } = load(t, {
    "steer.yaml":
      "version: 1\ninclude: [conf.d/*.yaml, sites/?/x.yaml]\nrules: [{to: {group: [a, b, c, d, e]}}]\n",
    "conf.d/20-b.yaml": part("b", 2),
    "conf.d/10-a.yaml": part("a", 1),
    "conf.d/9-c.yaml": part("c", 3),
    "conf.d/.hidden.yaml": "no policy",
    "conf.d/30-d.yaml~": "no policy",
    "conf.d/30xyaml": "no policy",
    "sites/2/x.yaml": part("e", 5),
    "sites/1/x.yaml": part("d", 4),
    "sites/33/x.yaml": "no policy",
    "sites/4/y.yaml": "no policy",
  });
  t.deepEqual(said, []);
  t.deepEqual(
    policy?.connections.map(({ name }) => name),
    ["a", "b", "c", "d", "e"],
  );
});

test("a pattern that matches nothing is a warning", (t) => {
  const { policy, said } = load(t, {
    "steer.yaml": `${SITES}rules: [{to: {group: [a, b]}}]\ninclude: conf.d/*.yaml\nflows: flows/*.csv\n`,
  });
  t.not(policy, null);
  t.deepEqual(said, [
    'steer.yaml:6:10: warning: "conf.d/*.yaml" matches no file; add one, or take the pattern out',
    'steer.yaml:7:8: warning: "flows/*.csv" matches no file; add one, or take the pattern out',
  ]);
});

const broken: readonly (readonly [title: string, files: Record<string, string>, said: string[]])[] = [
  [
    "a file that is not there",
    { "steer.yaml": `${SITES}include: none.yaml\n` },
    ["steer.yaml:5:10: error: none.yaml does not exist; check the path"],
  ],
  [
    "a pattern that begins with an asterisk and stands without quotes",
    { "steer.yaml": `${SITES}include: *.yaml\n` },
    [
      'steer.yaml:5:10: error: there is no anchor ".yaml" in front of this alias; set the anchor (&name) before the alias (*name), or quote a pattern that begins with *',
    ],
  ],
  [
    "a pattern for folders of any depth",
    { "steer.yaml": `${SITES}include: conf.d/**/x.yaml\n` },
    [
      'steer.yaml:5:10: error: "conf.d/**/x.yaml" has **, which is not known here; write * for each level of folders',
    ],
  ],
  [
    "a pattern that matches a file twice included",
    { "steer.yaml": `${SITES}include: [b.yaml, "[ab]*.yaml", "?.yaml"]\n`, "b.yaml": "version: 1\n" },
    [
      'steer.yaml:5:19: warning: "[ab]*.yaml" matches no file; add one, or take the pattern out',
      'steer.yaml:5:33: error: "b.yaml" is part of this policy already (steer.yaml:5); include each file once',
    ],
  ],
  [
    "a file that includes itself",
    { "steer.yaml": `${SITES}include: steer.yaml\n` },
    [
      'steer.yaml:5:10: error: "steer.yaml" is part of this policy already (steer.yaml:1); include each file once',
    ],
  ],
  [
    "two files that include each other",
    { "steer.yaml": `${SITES}include: b.yaml\n`, "b.yaml": "version: 1\ninclude: steer.yaml\n" },
    [
      'b.yaml:2:10: error: "steer.yaml" is part of this policy already (steer.yaml:1); include each file once',
    ],
  ],
  [
    "settings of the whole in an included file",
    { "steer.yaml": `${SITES}include: b.yaml\n`, "b.yaml": "version: 1\ndefault: pass\n" },
    ["b.yaml:2:1: error: default stands in an included file; write it in the file that includes this one"],
  ],
  [
    "an included file of another version",
    { "steer.yaml": `${SITES}include: b.yaml\n`, "b.yaml": "version: 2\nrulez: 1\n" },
    ["b.yaml:1:10: error: version is 2; write version: 1, the only one that this release reads"],
  ],
  [
    "names, if_ids and rules that are in two files",
    {
      "steer.yaml": `${SITES}rules:\n  - {name: x, match: {dscp: 1}, to: a}\ninclude: b.yaml\n`,
      "b.yaml":
        "version: 1\nconnections:\n  a: {if_id: 7}\n  c: {if_id: 2}\nrules:\n  - {name: x, match: {dscp: 2}, to: c}\n",
    },
    [
      "steer.yaml:3:3: error: the connection a is there already (b.yaml:3); give each connection its own name",
      "steer.yaml:4:14: error: if_id 2 is already that of the connection c; give each connection its own if_id",
      "steer.yaml:6:12: error: the rule name x is already that of rule 1; give each rule its own name",
    ],
  ],
  [
    "an error in each file, in the order of the files",
    {
      "steer.yaml": `${SITES}include: b.yaml\ndefault: block\n`,
      "b.yaml": "version: 1\nrules:\n  - {to: d}\n",
    },
    [
      'steer.yaml:6:10: error: default is "block"; write drop or pass',
      'b.yaml:3:10: error: there is no connection "d"; write the name of a connection, drop or pass',
    ],
  ],
];

for (const [title, files, said] of broken) {
  test(`include: ${title} is reported with its place`, (t) => {
    const result = load(t, files);
    t.is(result.policy, null);
    t.deepEqual(result.said, said);
  });
}
