// Where a tooltip goes.  Pure.

/** A rectangle on the page, in CSS pixels. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The corner of a tooltip: beside the box, else above or below it, across at most `room` pixels, and not over `avoid`. */
export function place(
  size: { width: number; height: number },
  box: Box,
  room: number,
  avoid?: Box,
): { x: number; y: number } {
  const beside = Math.max(2, box.y + box.height / 2 - size.height / 2);
  // what must be seen stands to the right: the room ends there, if that is room enough
  const end = avoid && avoid.x >= box.x + box.width && avoid.x - 8 >= size.width + 4 ? avoid.x - 8 : room;
  const middle = Math.max(2, Math.min(box.x + box.width / 2 - size.width / 2, end - size.width - 2));
  const below = { x: middle, y: box.y + box.height + 8 };
  const places = [
    { x: box.x + box.width + 10, y: beside },
    { x: box.x - size.width - 10, y: beside },
    { x: middle, y: box.y - size.height - 8 },
    below,
  ];
  const free = places.find(
    (at) => at.x >= 0 && at.x + size.width <= room && at.y >= 2 && !(avoid && overlap({ ...at, ...size }, avoid)),
  );
  return free ?? (avoid ? { x: middle, y: avoid.y + avoid.height + 8 } : below);
}

export function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
