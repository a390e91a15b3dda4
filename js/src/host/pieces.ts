// Large parts of the page's data, as mllm_widgets/render/pieces.py packs them.

export type Piece = { text: string } | { base64: string } | { deflate: string };

export async function bytesOf(piece: Piece): Promise<Uint8Array<ArrayBuffer>> {
  if ("text" in piece) return new TextEncoder().encode(piece.text);
  if ("base64" in piece) return decoded(piece.base64);
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to unpack its data");
  const unpacked = new Blob([decoded(piece.deflate)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

export async function textOf(piece: Piece): Promise<string> {
  return "text" in piece ? piece.text : new TextDecoder().decode(await bytesOf(piece));
}

function decoded(base64: string): Uint8Array<ArrayBuffer> {
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}
