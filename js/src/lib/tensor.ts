// Tensors as mllm_widgets/widgets/wire.py writes them.

export interface WireTensor {
  dtype: "f4" | "f2" | "u1";
  shape: number[];
  data: DataView;
  scale?: number; // of numbers in 8 bits
  offset?: number;
}

const NAN = 255; // in 8 bits

/** The numbers of a tensor, in C order.  A copy, because a host may hand out a view at any offset of a larger buffer. */
export function decode(wire: WireTensor): Float32Array | Uint8Array {
  const { buffer, byteOffset, byteLength } = wire.data;
  const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
  const values = numbers(wire, bytes);
  const expected = wire.shape.reduce((product, size) => product * size, 1);
  if (values.length !== expected) throw new Error(`tensor of shape [${wire.shape}] came with ${values.length} numbers`);
  return values;
}

function numbers({ dtype, scale, offset = 0 }: WireTensor, bytes: ArrayBufferLike): Float32Array | Uint8Array {
  if (dtype === "f4") return new Float32Array(bytes);
  if (dtype === "f2") return Float32Array.from(new Uint16Array(bytes), half);
  const raw = new Uint8Array(bytes);
  if (scale === undefined) return raw;
  return Float32Array.from(raw, (byte) => (byte === NAN ? Number.NaN : offset + scale * byte));
}

export const ROUNDED = "stored in 8 bits";

/** Were the numbers rounded to 8 bits? */
export function isRounded(wire: WireTensor): boolean {
  return wire.scale !== undefined;
}

/** A float16 from its bits: not every browser has Float16Array. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

const known = new WeakMap<WireTensor, Float32Array | Uint8Array>();

/** The same, decoded once for as long as the tensor is the same; not to be written to. */
export function decoded(wire: WireTensor): Float32Array | Uint8Array {
  const values = known.get(wire) ?? decode(wire);
  known.set(wire, values);
  return values;
}
