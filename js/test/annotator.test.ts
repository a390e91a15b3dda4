import { expect, test } from "vitest";
import {
  canAccept,
  marksOf,
  painted,
  progressText,
  together,
  toggled,
  wordSaying,
  wordsIn,
} from "../src/annotator/marks";
import type { Mark } from "../src/annotator/state";
import { pieces } from "../src/explorer/marking";

const NONE: Mark[] = ["", "", "", ""];

test("a range in either direction is the same words", () => {
  expect(wordsIn({ from: 1, to: 3 })).toEqual([1, 2, 3]);
  expect(wordsIn({ from: 3, to: 1 })).toEqual([1, 2, 3]);
  expect(wordsIn({ from: 2, to: 2 })).toEqual([2]);
});

test("marking words replaces what they had, and marking them again takes it off", () => {
  const visual = toggled(NONE, { from: 0, to: 1 }, "visual");
  expect(visual).toEqual(["visual", "visual", "", ""]);
  expect(toggled(visual, { from: 1, to: 2 }, "text")).toEqual(["visual", "text", "text", ""]);
  expect(toggled(visual, { from: 0, to: 2 }, "visual")).toEqual(["visual", "visual", "visual", ""]); // not all had it
  expect(toggled(visual, { from: 1, to: 0 }, "visual")).toEqual(NONE);
  expect(painted(visual, { from: 1, to: 1 }, "")).toEqual(["visual", "", "", ""]);
  expect(NONE).toEqual(["", "", "", ""]); // nothing is changed in place
});

test("marks that are too few, too many or of no kind are none", () => {
  expect(marksOf(["visual", "<img>" as Mark], 3)).toEqual(["visual", "", ""]);
  expect(marksOf(["text", "text"], 1)).toEqual(["text"]);
  expect(marksOf([], 0)).toEqual([]);
});

test("a word says what it is marked as, and what is suggested beside it", () => {
  expect(wordSaying("", "")).toBe("");
  expect(wordSaying("visual", "visual")).toBe("(visual constraint)");
  expect(wordSaying("visual", "text")).toBe("(visual constraint, suggested: text constraint)");
  expect(wordSaying("", "visual")).toBe("(suggested: visual constraint)");
});

test("a suggestion can be accepted where it says something that is not marked yet", () => {
  expect(canAccept(NONE, NONE)).toBe(false);
  expect(canAccept(NONE, ["", "visual", "", ""])).toBe(true);
  expect(canAccept(["", "visual", "", ""], ["", "visual", "", ""])).toBe(false);
});

test("punctuation stays with the word it touches, and nothing is lost", () => {
  const cut = (text: string) => {
    const words = [...text.matchAll(/[\p{L}\p{N}]+/gu)].map((found) => ({
      text: found[0],
      start: found.index,
      end: found.index + found[0].length,
    }));
    const parts = together(pieces(text, words));
    expect(parts.map(({ before, text, after }) => before + text + after).join("")).toBe(text);
    return parts.map(({ before, text, after }) => [before, text, after].filter(Boolean).join("|"));
  };
  expect(cut("Is “this”, here?")).toEqual(["Is", " ", "“|this|”,", " ", "here|?"]);
  expect(cut("well-known and/or - so")).toEqual(["well|-", "known", " ", "and|/", "or", " - ", "so"]);
  expect(cut("¿Qué es?")).toEqual(["¿|Qué", " ", "es|?"]);
  expect(cut("  a  ")).toEqual(["  ", "a", "  "]);
  expect(cut("???")).toEqual(["???"]);
});

test("progress says where one is, and when all is done", () => {
  const of = (at: number, done: number) =>
    progressText({ get: (name: string) => ({ at, done, total: 40 })[name] } as never);
  expect(of(12, 12)).toEqual({ where: "Question 13 of 40", done: "12 of 40 done" });
  expect(of(39, 40)).toEqual({ where: "Question 40 of 40", done: "All 40 done" });
});
