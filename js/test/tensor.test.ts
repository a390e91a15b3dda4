import { expect, test } from "vitest";
import { decode } from "../src/lib/tensor";

test("a tensor is read at any offset of its buffer", () => {
  const buffer = new ArrayBuffer(15);
  const view = new DataView(buffer, 3, 8); // not a multiple of four: a plain Float32Array could not be laid over it
  view.setFloat32(0, 0.25, true);
  view.setFloat32(4, -2, true);
  expect([...decode({ dtype: "f4", shape: [1, 2], data: view })]).toEqual([0.25, -2]);
});

test("bytes stay bytes", () => {
  const data = new DataView(Uint8Array.of(0, 1, 255).buffer);
  expect([...decode({ dtype: "u1", shape: [3], data })]).toEqual([0, 1, 255]);
});

test("a tensor whose shape does not fit its bytes is refused", () => {
  const data = new DataView(new ArrayBuffer(8));
  expect(() => decode({ dtype: "f4", shape: [3], data })).toThrow("shape [3] came with 2 numbers");
});
