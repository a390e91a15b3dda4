// Marking words: what a click, a drag or a key makes of the marks.  Pure.

import type { Range } from "../explorer/marking";
import { type AnnotatorModel, KINDS, type Mark } from "./state";

/** Words with the punctuation that touches them, which stays on their line; what is left between them has word -1. */
export function together(
  pieces: { text: string; word: number }[],
): { before: string; text: string; word: number; after: string }[] {
  const touching = (text: string | undefined, side: RegExp) => side.exec(text ?? "")?.[0] ?? "";
  return pieces.flatMap(({ text, word }, index) => {
    if (word >= 0) {
      const [ahead, behind] = [pieces[index - 1], pieces[index + 1]];
      const after = behind && behind.word < 0 ? touching(behind.text, /^\S+/) : "";
      // of what touches two words the first has it
      const whole = ahead && ahead.word < 0 && index > 1 && !/\s/.test(ahead.text);
      const before = ahead && ahead.word < 0 && !whole ? touching(ahead.text, /\S+$/) : "";
      return [{ before, text, word, after }];
    }
    const rest = text.slice(index ? touching(text, /^\S+/).length : 0);
    const left = pieces[index + 1] ? rest.slice(0, rest.length - touching(rest, /\S+$/).length) : rest;
    return left ? [{ before: "", text: left, word, after: "" }] : [];
  });
}

/** Marks as they come: of another kind than are known is none. */
export function marksOf(given: Mark[], count: number): Mark[] {
  return Array.from({ length: count }, (_, index) => KINDS.find(({ key }) => key === given[index])?.key ?? "");
}

export function wordsIn({ from, to }: Range): number[] {
  const first = Math.min(from, to);
  return Array.from({ length: Math.abs(to - from) + 1 }, (_, step) => first + step);
}

/** The marks with those of a range replaced. */
export function painted(marks: Mark[], range: Range, mark: Mark): Mark[] {
  const inside = wordsIn(range);
  return marks.map((now, index) => (inside.includes(index) ? mark : now));
}

/** What marking a range anew means: words that all have that mark lose it. */
export function toggled(marks: Mark[], range: Range, mark: Mark): Mark[] {
  const all = wordsIn(range).every((index) => marks[index] === mark);
  return painted(marks, range, all ? "" : mark);
}

/** What follows a word for a reader who hears it. */
export function wordSaying(mark: Mark, suggested: Mark): string {
  const name = (kind: Mark) => KINDS.find(({ key }) => key === kind)?.name.toLowerCase();
  const said = [name(mark), suggested && suggested !== mark && `suggested: ${name(suggested)}`].filter(Boolean);
  return said.length ? `(${said.join(", ")})` : "";
}

/** Is there a suggestion that is not what is marked already? */
export function canAccept(marks: Mark[], suggested: Mark[]): boolean {
  return suggested.some(Boolean) && String(marks) !== String(suggested);
}

/** How far the work has come, and where this question is. */
export function progressText(model: Pick<AnnotatorModel, "get">): { where: string; done: string } {
  const total = model.get("total");
  const done = model.get("done");
  return {
    where: `Question ${model.get("at") + 1} of ${total}`,
    done: total && done === total ? `All ${total} done` : `${done} of ${total} done`,
  };
}
