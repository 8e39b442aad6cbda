// Bundles src/ into dist/. The same sources and lock file give the same bytes.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const out = process.argv[2] ?? new URL("dist/", import.meta.url).pathname;
await mkdir(out, { recursive: true });
const common = { outdir: out, bundle: true, minify: true, legalComments: "none", logLevel: "warning" };
await build({
  ...common,
  entryPoints: { app: "src/main.ts", docs: "src/docs.ts" },
  format: "esm",
  target: "es2022",
  define: { "process.env.NODE_ENV": '"production"' },
});
await build({ ...common, entryPoints: { app: "src/app.css", docs: "src/docs.css" } });
for (const name of ["index.html", "docs.html", "icon.svg"]) await copyFile(`src/${name}`, `${out}/${name}`);

const texts = {
  "@kitware/vtk.js": ["LICENSE"],
  "gl-matrix": ["LICENSE.md"],
  "swagger-ui-dist": ["NOTICE", "LICENSE", "swagger-ui-bundle.js.LICENSE.txt"],
};
const licences = [];
for (const [name, files] of Object.entries(texts)) {
  const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const parts = await Promise.all(files.map((file) => readFile(`node_modules/${name}/${file}`, "utf8")));
  licences.push(`${name} ${version}\n\n${parts.map((part) => part.trim()).join("\n\n")}\n`);
}
await writeFile(`${out}/licences.txt`, licences.join("\n----\n\n"));
