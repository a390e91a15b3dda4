// Tensors as mllm_widgets/widgets/wire.py writes them.

export interface WireTensor {
  dtype: "f4" | "u1";
  shape: number[];
  data: DataView;
}

/** The numbers of a tensor, in C order.  A copy, because a host may hand out a view at any offset of a larger buffer. */
export function decode(wire: WireTensor): Float32Array | Uint8Array {
  const { buffer, byteOffset, byteLength } = wire.data;
  const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
  const values = wire.dtype === "f4" ? new Float32Array(bytes) : new Uint8Array(bytes);
  const expected = wire.shape.reduce((product, size) => product * size, 1);
  if (values.length !== expected) throw new Error(`tensor of shape [${wire.shape}] came with ${values.length} numbers`);
  return values;
}
