// A text in a PNG: where it comes from travels with the picture.

const HEAD = 33; // bytes of the signature and the header, after which texts may stand

/** The PNG with `text` under a keyword; what is not ASCII is written as JSON escapes, which a text that is JSON may have. */
export async function withText(png: Blob, keyword: string, text: string): Promise<Blob> {
  const ascii = text.replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const body = new TextEncoder().encode(`tEXt${keyword}\0${ascii}`);
  const chunk = new DataView(new ArrayBuffer(body.length + 8));
  chunk.setUint32(0, body.length - 4);
  new Uint8Array(chunk.buffer).set(body, 4);
  chunk.setUint32(body.length + 4, crc(body));
  return new Blob([png.slice(0, HEAD), chunk, png.slice(HEAD)], { type: "image/png" });
}

function crc(bytes: Uint8Array): number {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
