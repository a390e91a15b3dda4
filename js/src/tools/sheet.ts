// Tables and results as text: CSV and JSON (docs/data_format.md).  Pure.

import { decode, type WireTensor } from "../lib/tensor";
import type { Sheet } from "../lib/tools";

/** A matrix as CSV; `notes` stand before it, a line each. */
export function csv({ corner, columns, rows }: Sheet, notes: Record<string, unknown>): string {
  const lines = Object.entries(notes).map(([name, value]) => `# ${name}: ${plainLine(value)}`);
  lines.push([corner, ...columns].map(field).join(","));
  for (const { label, cells } of rows) lines.push([label, ...cells].map(field).join(","));
  return `${lines.join("\n")}\n`;
}

function plainLine(value: unknown): string {
  return (typeof value === "string" ? value : JSON.stringify(value)).replace(/[\r\n\u2028\u2029]+/g, " ");
}

/** Numbers in full, nothing where there is none; a text that a spreadsheet would compute gets an apostrophe before it. */
function field(value: number | string): string {
  if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n#]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** What a widget shows, as the one JSON object that mw.load_result reads. */
export function json(kind: string, provenance: unknown, data: Record<string, unknown>): string {
  const view = { format: "mllm_widgets view", version: 1, kind, provenance: provenance ?? {}, data };
  return JSON.stringify(view, (_name, value) => plain(value));
}

function plain(value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) return { float: String(value) };
  if (value && typeof value === "object" && "data" in value && value.data instanceof DataView) {
    const numbers = decode(value as WireTensor);
    const dtype = numbers instanceof Float32Array ? "<f4" : "|u1";
    return { dtype, shape: (value as WireTensor).shape, data: base64(new Uint8Array(numbers.buffer)) };
  }
  if (value instanceof DataView) return undefined; // pictures
  return value;
}

export function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** A name for a file: words, joined by hyphens. */
export function fileName(stem: string, ending: string): string {
  const words = stem.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["view"];
  let name = "";
  for (const word of words) {
    if (name.length + word.length > 60) break;
    name += `${name && "-"}${word}`;
  }
  return `${name || "view"}.${ending}`;
}
