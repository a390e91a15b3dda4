import { expect, test } from "vitest";
import tensors from "../../tests/data/tensors.json";
import { decode, isRounded, type WireTensor } from "../src/lib/tensor";

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

test.each(tensors.cases)("$name: Python's bytes are read as Python reads them", ({ wire, read }) => {
  const bytes = Uint8Array.from(atob(wire.data), (c) => c.charCodeAt(0));
  const sent = { ...wire, data: new DataView(bytes.buffer) } as unknown as WireTensor;
  const number = (value: number | string | null) => Math.fround(value === null ? Number.NaN : Number(value));
  expect([...decode(sent)]).toEqual(read.map(number));
  expect(isRounded(sent)).toBe("scale" in wire);
});
