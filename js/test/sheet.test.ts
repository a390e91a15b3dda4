import { expect, test } from "vitest";
import type { Sheet } from "../src/lib/tools";
import { withText } from "../src/tools/png";
import { base64, csv, fileName, json } from "../src/tools/sheet";

const sheet = (...rows: Sheet["rows"]): Sheet => ({ corner: "token", columns: ["layer 0", "layer 1"], rows });

test("a table as CSV: notes, names, numbers in full, nothing where there is no value", () => {
  const rows = { label: "·a", cells: [-1 / 3, Number.NaN] };
  expect(csv(sheet(rows), { model: "demo", versions: { torch: "2" }, note: "two\r\nlines" })).toBe(
    '# model: demo\n# versions: {"torch":"2"}\n# note: two lines\ntoken,layer 0,layer 1\n·a,-0.3333333333333333,\n',
  );
});

test("texts that a spreadsheet would compute are guarded, and numbers are not", () => {
  const first = (label: string) => csv(sheet({ label, cells: [-1, 1e-7] }), {}).split("\n")[1];
  expect(first("=A1")).toBe("'=A1,-1,1e-7");
  expect(first("+1")).toBe("'+1,-1,1e-7");
  expect(first("-1")).toBe("'-1,-1,1e-7");
  expect(first("@x")).toBe("'@x,-1,1e-7");
  expect(first("a=b")).toBe("a=b,-1,1e-7");
});

test("commas, quotes, comment marks and spaces at the ends are kept by quotes", () => {
  const first = (label: string) =>
    csv(sheet({ label, cells: [1, 2] }), {})
      .split("\n")
      .slice(1)
      .join("\n");
  expect(first("a,b")).toBe('"a,b",1,2\n');
  expect(first('say "a"')).toBe('"say ""a""",1,2\n');
  expect(first("# 1")).toBe('"# 1",1,2\n');
  expect(first(" a")).toBe('" a",1,2\n');
  expect(first("a\nb")).toBe('"a\nb",1,2\n');
});

test("JSON has numbers that JSON knows not, tensors as plain arrays, and no pictures", () => {
  const data = new DataView(new Float32Array([1, Number.NaN]).buffer);
  const image = new DataView(new ArrayBuffer(3));
  const made = { low: Number.NEGATIVE_INFINITY, values: { dtype: "f4", shape: [2], data }, image, text: "<b>\ud800" };
  expect(JSON.parse(json("lens_panel", undefined, made))).toEqual({
    format: "mllm_widgets view",
    version: 1,
    kind: "lens_panel",
    provenance: {},
    data: {
      low: { float: "-Infinity" },
      values: { dtype: "<f4", shape: [2], data: base64(new Uint8Array(data.buffer)) },
      text: "<b>\ud800",
    },
  });
});

test("base64 of more bytes than a call takes arguments", () => {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i);
  expect(Uint8Array.from(atob(base64(bytes)), (c) => c.charCodeAt(0))).toEqual(bytes);
});

test("files are named by words, in any script, and not by whole questions", () => {
  expect(fileName("trace What is “this building”? window 3", "png")).toBe("trace-what-is-this-building-window-3.png");
  expect(fileName("../..\\ 在哪里 /", "csv")).toBe("在哪里.csv");
  expect(fileName("???", "svg")).toBe("view.svg");
  expect(fileName(`a ${"very ".repeat(50)}long question`, "json").length).toBeLessThan(70);
  expect(fileName("x".repeat(5000), "json").length).toBeLessThan(70);
});

test("a text in a PNG stands behind its header, with the sum that a reader checks", async () => {
  const head = Uint8Array.from({ length: 33 }, (_, i) => i);
  const made = await withText(new Blob([head, "rest"]), "provenance", '{"a":"é"}');
  const bytes = new Uint8Array(await made.arrayBuffer());
  const text = `tEXtprovenance\0{"a":"\\u00e9"}`;
  const view = new DataView(bytes.buffer);
  expect(view.getUint32(33)).toBe(text.length - 4);
  expect(new TextDecoder().decode(bytes.slice(37, 37 + text.length))).toBe(text);
  expect(view.getUint32(37 + text.length)).toBe(2800714792); // Python's zlib.crc32
  expect(new TextDecoder().decode(bytes.slice(41 + text.length))).toBe("rest");
});
