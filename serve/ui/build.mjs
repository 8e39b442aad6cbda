// Bundles src/ into dist/. The same sources and lock file give the same bytes.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const out = process.argv[2] ?? new URL("dist/", import.meta.url).pathname;
await mkdir(out, { recursive: true });
await build({
  entryPoints: { app: "src/main.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
});
await build({ entryPoints: { app: "src/app.css" }, outdir: out, minify: true, bundle: true, logLevel: "warning" });
for (const name of ["index.html", "icon.svg"]) await copyFile(`src/${name}`, `${out}/${name}`);

const licences = [];
for (const name of ["@kitware/vtk.js", "gl-matrix"]) {
  const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const text = await readFile(`node_modules/${name}/${name.startsWith("@") ? "LICENSE" : "LICENSE.md"}`, "utf8");
  licences.push(`${name} ${version}\n\n${text.trim()}\n`);
}
await writeFile(`${out}/licences.txt`, licences.join("\n----\n\n"));
