// Marking words of the question: which ones a pointer or the keyboard has taken hold of.  Pure.

import type { Word } from "./state";

/** Words from one to another, by index. */
export interface Range {
  from: number;
  to: number;
}

/** The words of a span of characters; undefined where it holds none. */
export function rangeOf(words: Word[], span: number[]): Range | undefined {
  const [start = 0, end = 0] = span;
  const inside = words.flatMap((word, index) => (word.start < end && word.end > start ? [index] : []));
  return inside.length ? { from: inside[0] as number, to: inside.at(-1) as number } : undefined;
}

/** The characters of a range of words, in either direction. */
export function spanOf(words: Word[], { from, to }: Range): [number, number] {
  const first = words[Math.min(from, to)];
  const last = words[Math.max(from, to)];
  return [first?.start ?? 0, last?.end ?? 0];
}

export function contains(range: Range | undefined, index: number): boolean {
  return range !== undefined && Math.min(range.from, range.to) <= index && index <= Math.max(range.from, range.to);
}

/** Where a key takes the range that is being marked: it grows with Shift, else it becomes one word; undefined for other keys. */
export function stepped(range: Range, key: string, extend: boolean, count: number): Range | undefined {
  const last = count - 1;
  const to = { ArrowLeft: range.to - 1, ArrowRight: range.to + 1, Home: 0, End: last }[key];
  if (to === undefined) return undefined;
  const kept = Math.max(0, Math.min(last, to));
  return extend ? { from: range.from, to: kept } : { from: kept, to: kept };
}

/** Text in pieces: words by their index, and what stands between them. */
export function pieces(text: string, words: Word[]): { text: string; word: number }[] {
  const characters = [...text]; // offsets count code points, as Python does
  const found: { text: string; word: number }[] = [];
  let at = 0;
  words.forEach((word, index) => {
    if (word.start > at) found.push({ text: characters.slice(at, word.start).join(""), word: -1 });
    found.push({ text: characters.slice(word.start, word.end).join(""), word: index });
    at = word.end;
  });
  if (at < characters.length) found.push({ text: characters.slice(at).join(""), word: -1 });
  return found;
}
