#!/usr/bin/env node
/**
 * Writes API.md of a package from its compiled declarations: what index.d.ts exports, each with its docstring and
 * signature. Run after the compiler:
 *
 *   node src/libbpf-ts/scripts/api-reference.js src/libbpf-ts [--check]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Exported names of a declaration file, in order, with the file that declares each. */
function exportsOf(file) {
  const text = readFileSync(file, "utf8");
  const found = [];
  const resolve = (path) => join(dirname(file), path.replace(/\.js$/, ".d.ts"));
  for (const [, names, path] of text.matchAll(/^export (?:type )?\{([^}]*)\} from "(\.[^"]+)";/gm)) {
    for (const name of names.split(",")) {
      const clean = name.trim().replace(/^type /, "");
      if (clean !== "") found.push([clean, resolve(path)]);
    }
  }
  for (const [, path] of text.matchAll(/^export \* from "(\.[^"]+)";/gm))
    found.push(...exportsOf(resolve(path)));
  return found;
}

const files = new Map();

/** Top-level declarations of a file by name: docstring and text. Declarations begin at the margin. */
function declarationsOf(file) {
  const known = files.get(file);
  if (known) return known;
  const text = readFileSync(file, "utf8");
  const pattern =
    /((?:^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?)^(?:export )?(?:declare )?((?:abstract )?(?:class|interface|function|const|type) (\w+)[\s\S]*?)(?=^\/\*\*|^export |^declare |(?![\s\S]))/gm;
  const declarations = new Map();
  for (const [, doc, body, name] of text.matchAll(pattern)) {
    const previous = declarations.get(name);
    declarations.set(name, {
      doc: doc || previous?.doc || "",
      bodies: [...(previous?.bodies ?? []), body.trim()],
    });
  }
  files.set(file, declarations);
  return declarations;
}

/** A docstring as prose: its tags become a list. */
function prose(doc) {
  const lines = doc
    .replace(/^\/\*\*/, "")
    .replace(/\*\/\s*$/, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trimEnd())
    .join("\n")
    .trim();
  return lines.replace(/(?:^|\n)@(\w+) /g, "\n\n- **$1** ").trim();
}

/** A declaration without what is private; `constructor` and overloads stay. */
function visible(body) {
  return body
    .split("\n")
    .filter((line) => !/^\s+#private;/.test(line) && !/^\s+(?:private|protected) /.test(line))
    .join("\n");
}

function reference(folder) {
  const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const sections = exportsOf(join(folder, "dist", "index.d.ts"))
    .sort(([a], [b]) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1))
    .flatMap(([exported, file]) => {
      const declaration = declarationsOf(file).get(exported);
      if (!declaration) return []; // re-exported from another package, which documents it
      const text = prose(declaration.doc);
      return [
        `## ${exported}\n${text && `\n${text}\n`}\n\`\`\`ts\n${declaration.bodies.map(visible).join("\n")}\n\`\`\`\n`,
      ];
    });
  return `# ${name}: API reference\n\nMade from the docstrings by scripts/api-reference.js.\n\n${sections.join("\n")}`;
}

const folder = process.argv[2];
if (!folder) {
  console.error("usage: api-reference.js PACKAGE_FOLDER [--check]");
  process.exit(2);
}
const path = join(folder, "API.md");
const text = reference(folder);
if (!process.argv.includes("--check")) writeFileSync(path, text);
else if (readFileSync(path, "utf8") !== text) {
  console.error(`${path} is out of date: run api-reference.js again`);
  process.exit(1);
}
