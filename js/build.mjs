// One self-contained bundle per widget: anywidget loads it from a Blob URL, where a shared chunk could not be found.
import { readdirSync, statSync } from "node:fs";
import { build, context } from "esbuild";

const OUT = "../mllm_widgets/static";
const LIMIT = 30_000; // bytes; the bundle is a synced trait of every instance and is saved with the notebook

const watch = process.argv.includes("--watch");
const entries = readdirSync("src").filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"));
const options = {
  entryPoints: entries.map((name) => `src/${name}`),
  outdir: OUT,
  bundle: true,
  format: "esm",
  target: "es2022",
  splitting: false,
  minify: !watch,
  sourcemap: watch ? "inline" : false,
  logLevel: "warning",
};

if (watch) {
  await (await context(options)).watch();
} else {
  await build(options);
  for (const name of entries) {
    const file = `${OUT}/${name.replace(/\.ts$/, ".js")}`;
    const { size } = statSync(file);
    if (size > LIMIT) throw new Error(`${file} has ${size} bytes; a bundle must stay under ${LIMIT}`);
    console.log(`${file}  ${(size / 1000).toFixed(1)} kB`);
  }
}
